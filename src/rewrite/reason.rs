//! Why a write goes unchecked, in the words of the metrics and of docs/coverage.md.

/// Why a write was let through without a check. The `reason` label of `staleguard_unchecked_writes_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Not a point write.
    SetWrite,
    /// Several rows are named.
    SeveralRows,
    /// Another statement in the same Query or cycle.
    Batch,
    /// A row that an earlier write of the same Query has on its way, whose outcome cannot be awaited.
    SameRowInQuery,
    /// INSERT .. ON CONFLICT DO UPDATE.
    OnConflict,
    /// MERGE.
    Merge,
    /// DELETE.
    Delete,
    /// Inside a WITH.
    Cte,
    /// UPDATE .. FROM.
    UpdateFrom,
    /// WHERE CURRENT OF.
    CurrentOf,
    /// Inside PREPARE or EXPLAIN.
    Nested,
    /// Flush in place of Sync.
    Flush,
    /// The table has a statement trigger.
    StatementTrigger,
    /// The key's value is not canonical.
    UnknownKey,
    /// Clauses not certain: sent as it is, not even bumped.
    Unparsed,
    /// The role may not read or update the version column: sent as it is.
    Privilege,
    /// Through a view: sent as it is.
    View,
    /// COPY FROM: sent as it is.
    Copy,
    /// The text's encoding cannot be tokenised safely: sent as it is.
    Encoding,
    /// More than 65,535 parameters.
    Parameters,
    /// More rows are known than travel with one statement: those beyond went unchecked.
    GuardOverflow,
}

impl Reason {
    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::SetWrite => "set_write",
            Self::SeveralRows => "several_rows",
            Self::Batch => "batch",
            Self::SameRowInQuery => "same_row_in_query",
            Self::OnConflict => "on_conflict",
            Self::Merge => "merge",
            Self::Delete => "delete",
            Self::Cte => "cte",
            Self::UpdateFrom => "update_from",
            Self::CurrentOf => "current_of",
            Self::Nested => "nested",
            Self::Flush => "flush",
            Self::StatementTrigger => "statement_trigger",
            Self::UnknownKey => "unknown_key",
            Self::Unparsed => "unparsed",
            Self::Privilege => "privilege",
            Self::View => "view",
            Self::Copy => "copy",
            Self::Encoding => "encoding",
            Self::Parameters => "parameters",
            Self::GuardOverflow => "guard_overflow",
        }
    }
}
