//! conflict (skeleton)
