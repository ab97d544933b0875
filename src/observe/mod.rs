//! observe (skeleton)
