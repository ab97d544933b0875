//! One file per scenario. Each takes the stage, plays, and returns what it expected and saw.

pub mod bulk;
pub mod hidden_columns;
pub mod metrics;
pub mod race;
pub mod single_update;
pub mod two_users;
pub mod web_form;
