//! server (skeleton)
