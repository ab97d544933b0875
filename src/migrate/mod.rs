//! migrate (skeleton)
