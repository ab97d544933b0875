//! Pure: statement text + catalog -> [`plan::Plan`]. One file per rule; no I/O, no versions.

pub mod cache;
pub mod plan;
