//! Zero rows: find out why before saying so.
//!
//! A checked write (`.. AND t.version = 5`) that matched no row is a conflict only if the row is there with
//! another version and the rest of the condition does not explain it, or if an observed row is gone. All else
//! is the plain `UPDATE 0` that PostgreSQL itself would have answered.

use crate::catalog::OnDeleted;

/// What the probe by the key found: one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// The row's present version.
    pub version: i64,
    /// What the rest of the WHERE says of the row; `None` where there is none or it cannot be evaluated. SQL's
    /// NULL is `Some(false)`: such a row does not match.
    pub rest: Option<bool>,
}

/// A checked write that matched no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZeroRows {
    /// What the probe found; `None` if it saw no row.
    pub probe: Option<Probed>,
    /// The version the write was based on.
    pub expected: i64,
    /// The table's setting for an observed row that is gone.
    pub on_deleted: OnDeleted,
    /// A row may be there and not be seen: row security, a partition, ONLY.
    pub partial: bool,
    /// This scope deleted the row itself.
    pub deleted_by_us: bool,
    /// The write is a DELETE.
    pub is_delete: bool,
    /// It is a blind write that is refused if it finds a row: nobody has observed that one.
    pub blind: bool,
}

/// What zero rows mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The client gets the server's own `UPDATE 0` (or `DELETE 0`).
    Pass(PassReason),
    /// The client gets the conflict error.
    Conflict {
        /// The row's present version; `None` if the row is gone.
        actual: Option<i64>,
    },
}

/// Why zero rows are no conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PassReason {
    /// The row has the expected version: a trigger or a policy kept it from being written.
    SameVersion,
    /// The rest of the WHERE does not hold for the row.
    OtherCondition,
    /// A DELETE of a row that is gone.
    DeleteGone,
    /// No row is seen, and row security may be what hides it.
    RowSecurity,
    /// The row is gone because this scope deleted it.
    DeletedByScope,
    /// The row is gone and `on_deleted = "pass"`.
    OnDeleted,
    /// There is no such row, and nobody has observed one.
    BlindGone,
}

impl Verdict {
    /// The `verdict` label of `staleguard_zero_row_probes_total`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pass(reason) => reason.label(),
            Self::Conflict { actual: Some(_) } => "conflict",
            Self::Conflict { actual: None } => "conflict_gone",
        }
    }
}

impl PassReason {
    /// The `verdict` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::SameVersion => "same_version",
            Self::OtherCondition => "other_condition",
            Self::DeleteGone => "delete_gone",
            Self::RowSecurity => "row_security",
            Self::DeletedByScope => "deleted_by_scope",
            Self::OnDeleted => "on_deleted",
            Self::BlindGone => "blind_gone",
        }
    }
}

/// Judges a checked write that matched no row.
pub fn judge(zero: ZeroRows) -> Verdict {
    let Some(row) = zero.probe else { return judge_gone(zero) };
    if row.rest == Some(false) {
        Verdict::Pass(PassReason::OtherCondition)
    } else if row.version == zero.expected {
        Verdict::Pass(PassReason::SameVersion)
    } else {
        Verdict::Conflict { actual: Some(row.version) }
    }
}

fn judge_gone(zero: ZeroRows) -> Verdict {
    if zero.is_delete {
        Verdict::Pass(PassReason::DeleteGone)
    } else if zero.deleted_by_us {
        Verdict::Pass(PassReason::DeletedByScope)
    } else if zero.partial {
        Verdict::Pass(PassReason::RowSecurity)
    } else if zero.blind {
        Verdict::Pass(PassReason::BlindGone)
    } else {
        match zero.on_deleted {
            OnDeleted::Conflict => Verdict::Conflict { actual: None },
            OnDeleted::Pass => Verdict::Pass(PassReason::OnDeleted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATE: ZeroRows = ZeroRows {
        probe: None,
        expected: 5,
        on_deleted: OnDeleted::Conflict,
        partial: false,
        deleted_by_us: false,
        is_delete: false,
        blind: false,
    };

    fn found(version: i64, rest: Option<bool>) -> ZeroRows {
        ZeroRows { probe: Some(Probed { version, rest }), ..UPDATE }
    }

    #[test]
    fn says_why_a_write_matched_no_row() {
        use PassReason::{DeleteGone, DeletedByScope, OtherCondition, RowSecurity, SameVersion};
        let gone = UPDATE;
        let cases = [
            ("expected version, no rest", found(5, None), Verdict::Pass(SameVersion)),
            ("expected version, rest true", found(5, Some(true)), Verdict::Pass(SameVersion)),
            ("expected version, rest false", found(5, Some(false)), Verdict::Pass(OtherCondition)),
            ("newer, no rest", found(6, None), Verdict::Conflict { actual: Some(6) }),
            ("newer, rest true", found(6, Some(true)), Verdict::Conflict { actual: Some(6) }),
            ("newer, rest false", found(6, Some(false)), Verdict::Pass(OtherCondition)),
            ("older: begun anew", found(1, None), Verdict::Conflict { actual: Some(1) }),
            ("gone", gone, Verdict::Conflict { actual: None }),
            (
                "gone, on_deleted",
                ZeroRows { on_deleted: OnDeleted::Pass, ..gone },
                Verdict::Pass(PassReason::OnDeleted),
            ),
            ("gone, blind", ZeroRows { blind: true, ..gone }, Verdict::Pass(PassReason::BlindGone)),
            (
                "there, blind",
                ZeroRows { blind: true, ..found(6, None) },
                Verdict::Conflict { actual: Some(6) },
            ),
            ("gone, RLS", ZeroRows { partial: true, ..gone }, Verdict::Pass(RowSecurity)),
            ("gone, ours", ZeroRows { deleted_by_us: true, ..gone }, Verdict::Pass(DeletedByScope)),
            ("gone, DELETE", ZeroRows { is_delete: true, ..gone }, Verdict::Pass(DeleteGone)),
            (
                "gone, DELETE under RLS",
                ZeroRows { is_delete: true, partial: true, ..gone },
                Verdict::Pass(DeleteGone),
            ),
            (
                "newer, DELETE",
                ZeroRows { is_delete: true, ..found(6, None) },
                Verdict::Conflict { actual: Some(6) },
            ),
            (
                "newer, RLS",
                ZeroRows { partial: true, ..found(6, None) },
                Verdict::Conflict { actual: Some(6) },
            ),
        ];
        for (name, zero, verdict) in cases {
            assert_eq!(judge(zero), verdict, "{name}");
        }
    }
}
