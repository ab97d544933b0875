//! The queue of outstanding requests: a pure state machine that tells for each server message which request
//! it answers and whether it is that request's last one.
//!
//! The rules are those of the protocol's message flow
//! (<https://www.postgresql.org/docs/current/protocol-flow.html>): one reply sequence per request in order;
//! after an error in an extended-protocol message the server discards everything up to Sync; while it copies
//! in it ignores Sync and Flush.

use std::collections::VecDeque;

use crate::wire::tag::back;

/// What was sent, as far as its reply is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Simple query.
    Query,
    /// Function call.
    Function,
    /// Parse.
    Parse,
    /// Bind.
    Bind,
    /// Describe of a statement.
    DescribeStatement,
    /// Describe of a portal.
    DescribePortal,
    /// Execute.
    Execute,
    /// Close of a statement or portal.
    Close,
    /// Sync.
    Sync,
    /// A Flush with a body, which it has not: the server answers it with an error, and with nothing where it copies in.
    BadFlush,
    /// CopyDone or CopyFail: no reply of its own, it ends what a copy-in ignores.
    CopyEnd,
}

/// One outstanding request with what the session wants to remember of it.
#[derive(Debug)]
pub struct Entry<D> {
    /// What was sent.
    pub kind: Kind,
    /// The session's own data.
    pub detail: D,
    /// The server answered with CopyInResponse, and the copy has not ended.
    copy_in: bool,
    /// It has failed with an error that its ReadyForQuery follows.
    failed: bool,
}

/// What a server message means for the queue.
#[derive(Debug)]
pub enum Reply<D> {
    /// Asynchronous (notice, parameter status, notification): answers nothing.
    Async,
    /// Belongs to the head, which expects more.
    Part,
    /// The head's last message.
    End(Entry<D>),
    /// An error in an extended message: the head and every request up to the next Sync are answered by it,
    /// in the order in which they were sent.
    Failed(Vec<Entry<D>>),
    /// No outstanding request allows this message.
    Unexpected,
}

/// The queue. `D` is what the session keeps with each request.
#[derive(Debug)]
pub struct Queue<D> {
    entries: VecDeque<Entry<D>>,
    skipping: bool,
    surplus_ready: u32,
}

impl<D> Default for Queue<D> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), skipping: false, surplus_ready: 0 }
    }
}

impl<D> Queue<D> {
    /// Notes a request that was sent. Returns it where the server will discard it unanswered
    /// (skip-until-Sync): the caller undoes what it assumed.
    pub fn push(&mut self, kind: Kind, detail: D) -> Option<Entry<D>> {
        let entry = Entry { kind, detail, copy_in: false, failed: false };
        if self.skipping {
            if kind != Kind::Sync {
                return Some(entry);
            }
            self.skipping = false;
        }
        self.entries.push_back(entry);
        None
    }

    /// The request that the next synchronous server message answers.
    pub fn head(&mut self) -> Option<&mut Entry<D>> {
        while self.entries.front().is_some_and(|e| e.kind == Kind::CopyEnd) {
            self.entries.pop_front();
        }
        self.entries.front_mut()
    }

    /// The request sent last.
    pub fn last_mut(&mut self) -> Option<&mut Entry<D>> {
        self.entries.back_mut()
    }

    /// What is kept with each outstanding request, oldest first.
    pub fn details(&self) -> impl Iterator<Item = &D> {
        self.entries.iter().map(|e| &e.detail)
    }

    /// The ReadyForQuery that follows if the head fails is the last reply outstanding.
    pub fn ends_with_head(&self) -> bool {
        let ends = |kind| matches!(kind, Kind::Sync | Kind::Query | Kind::Function);
        let last = |n: usize| n + 1 == self.entries.len();
        match self.entries.front() {
            Some(head) if ends(head.kind) => last(0),
            // It skips all that stands before the next Sync.
            Some(_) => self.entries.iter().position(|e| e.kind == Kind::Sync).is_some_and(last),
            None => false,
        }
    }

    /// True while the server discards what is sent up to the next Sync.
    pub fn skipping(&self) -> bool {
        self.skipping
    }

    /// No reply is outstanding.
    pub fn is_empty(&self) -> bool {
        self.entries.iter().all(|e| e.kind == Kind::CopyEnd)
    }

    /// How many requests are outstanding.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Something is outstanding that may copy in, so that CopyDone and CopyFail matter to the queue.
    pub fn may_copy_in(&self) -> bool {
        self.entries.iter().any(|e| matches!(e.kind, Kind::Execute | Kind::Query))
    }

    /// The head has failed with an error that its ReadyForQuery follows (simple query, Sync, function call).
    pub fn head_failed(&self) -> bool {
        self.entries.front().is_some_and(|e| e.failed)
    }

    /// Takes a server message's tag.
    pub fn reply(&mut self, tag: u8) -> Reply<D> {
        if matches!(tag, back::NOTICE | back::PARAMETER_STATUS | back::NOTIFICATION) {
            return Reply::Async;
        }
        let Some(head) = self.head() else { return self.unexpected(tag) };
        use Kind::*;
        match (head.kind, tag) {
            (Query, back::READY) | (Function, back::READY) | (Sync, back::READY) => self.end(),
            (Query | Function | Sync, back::ERROR) => {
                head.failed = true;
                if std::mem::take(&mut head.copy_in) {
                    self.drop_ignored_by_copy(true);
                }
                Reply::Part
            }
            (Query, back::COPY_IN | back::COPY_BOTH) => {
                head.copy_in = true;
                Reply::Part
            }
            (Query, back::COMMAND_COMPLETE) => {
                if std::mem::take(&mut head.copy_in) {
                    self.drop_ignored_by_copy(false);
                }
                Reply::Part
            }
            (
                Query,
                back::ROW_DESCRIPTION
                | back::DATA_ROW
                | back::EMPTY_QUERY
                | back::COPY_OUT
                | back::COPY_DATA
                | back::COPY_DONE,
            ) => Reply::Part,
            (Function, back::FUNCTION_RESULT) => Reply::Part,
            (Parse, back::PARSE_COMPLETE) | (Bind, back::BIND_COMPLETE) | (Close, back::CLOSE_COMPLETE) => {
                self.end()
            }
            (DescribeStatement, back::PARAMETER_DESCRIPTION) => Reply::Part,
            (DescribeStatement | DescribePortal, back::ROW_DESCRIPTION | back::NO_DATA) => self.end(),
            (Execute, back::COPY_IN | back::COPY_BOTH) => {
                head.copy_in = true;
                Reply::Part
            }
            (Execute, back::DATA_ROW | back::COPY_OUT | back::COPY_DATA | back::COPY_DONE) => Reply::Part,
            (Execute, back::COMMAND_COMPLETE | back::EMPTY_QUERY | back::PORTAL_SUSPENDED) => {
                let copied = head.copy_in;
                let reply = self.end();
                if copied {
                    self.drop_ignored_by_copy(false);
                }
                reply
            }
            (_, back::ERROR) => self.fail(),
            _ => self.unexpected(tag),
        }
    }

    fn end(&mut self) -> Reply<D> {
        match self.entries.pop_front() {
            Some(entry) => Reply::End(entry),
            None => Reply::Unexpected,
        }
    }

    /// An error that reaches nobody's request: the server says it of its own accord (FATAL at shutdown).
    fn unexpected(&mut self, tag: u8) -> Reply<D> {
        match tag {
            back::ERROR => Reply::Async,
            back::READY if self.surplus_ready > 0 => {
                self.surplus_ready -= 1;
                self.skipping = false;
                Reply::Async
            }
            _ => Reply::Unexpected,
        }
    }

    fn fail(&mut self) -> Reply<D> {
        let mut failed = Vec::new();
        if let Some(head) = self.entries.pop_front() {
            let copied = head.copy_in;
            failed.push(head);
            if copied {
                self.drop_ignored_by_copy(true);
            }
        }
        while self.entries.front().is_some_and(|e| e.kind != Kind::Sync) {
            failed.extend(self.entries.pop_front());
        }
        self.skipping = self.entries.is_empty();
        Reply::Failed(failed)
    }

    /// A copy-in read over every Sync sent before its CopyDone or CopyFail. Where it `failed` before it read
    /// them (a statement trigger), the server answers them after all: those are `surplus_ready`.
    /// Then nothing is skipped any more.
    fn drop_ignored_by_copy(&mut self, failed: bool) {
        let end = self.entries.iter().position(|e| e.kind == Kind::CopyEnd);
        let upto = end.map_or(self.entries.len(), |i| i + 1);
        let mut syncs = 0;
        let mut index = 0;
        self.entries.retain(|e| {
            let ignored = index < upto && matches!(e.kind, Kind::Sync | Kind::CopyEnd | Kind::BadFlush);
            syncs += u32::from(ignored && e.kind == Kind::Sync);
            index += 1;
            !ignored
        });
        if failed {
            self.surplus_ready += syncs;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    /// Pushes requests by letter: Q F P B s(describe statement) d(describe portal) E C S . (copy end) H(bad flush)
    fn queue(requests: &str) -> Queue<usize> {
        let mut q = Queue::default();
        push(&mut q, requests);
        q
    }

    fn push(q: &mut Queue<usize>, requests: &str) {
        for (i, c) in requests.chars().enumerate() {
            let kind = match c {
                'Q' => Kind::Query,
                'F' => Kind::Function,
                'P' => Kind::Parse,
                'B' => Kind::Bind,
                's' => Kind::DescribeStatement,
                'd' => Kind::DescribePortal,
                'E' => Kind::Execute,
                'C' => Kind::Close,
                'S' => Kind::Sync,
                '.' => Kind::CopyEnd,
                'H' => Kind::BadFlush,
                other => panic!("{other}"),
            };
            q.push(kind, i);
        }
    }

    /// Feeds server tags; `a` async, `p` part, `e` end, `f` failed (with count), `!` unexpected.
    fn feed(q: &mut Queue<usize>, tags: &str) -> String {
        let mut out = String::new();
        for tag in tags.bytes() {
            match q.reply(tag) {
                Reply::Async => out.push('a'),
                Reply::Part => out.push('p'),
                Reply::End(_) => out.push('e'),
                Reply::Failed(v) => out.push_str(&format!("f{}", v.len())),
                Reply::Unexpected => out.push('!'),
            }
        }
        out
    }

    #[test]
    fn reply_sequences() {
        let table = [
            ("Q", "TDDCZ", "ppppe"),
            ("Q", "CCIZ", "pppe"),
            ("Q", "EZ", "pe"),
            ("Q", "HddcCZ", "pppppe"),
            ("Q", "GCZ", "ppe"),
            ("F", "VZ", "pe"),
            ("F", "EZ", "pe"),
            ("PBdES", "12TDDCZ", "eeeppee"),
            ("PsS", "1tTZ", "epee"),
            ("PsS", "1tnZ", "epee"),
            ("BES", "2DsZ", "epee"),
            ("CS", "3Z", "ee"),
            ("PBdES", "EZ", "f4e"),
            ("PBdES", "12EZ", "eef2e"),
            ("PBESPBES", "1EZ12CZ", "ef2eeeee"),
            ("S", "EZ", "pe"),
            ("Q", "NSATDCZ", "aaapppe"),
            ("", "E", "a"),
            ("", "Z", "!"),
            ("", "D", "!"),
            ("P", "2", "!"),
            ("QQ", "CZCZ", "pepe"),
            ("PHQSP", "1EZ1", "ef2ee"),
        ];
        for (requests, tags, want) in table {
            let mut q = queue(requests);
            assert_eq!(feed(&mut q, tags), want, "{requests} <- {tags}");
            if !want.ends_with('!') && !want.ends_with('a') {
                assert!(q.is_empty(), "{requests} <- {tags}");
            }
        }
    }

    #[test]
    fn everything_up_to_sync_is_skipped_also_what_comes_later() {
        let mut q = queue("PB");
        assert_eq!(feed(&mut q, "E"), "f2");
        assert!(q.skipping());
        assert!(q.push(Kind::Execute, 9).is_some());
        assert!(q.push(Kind::Query, 9).is_some());
        assert!(q.push(Kind::Sync, 10).is_none());
        assert!(!q.skipping());
        assert_eq!(feed(&mut q, "Z"), "e");
        assert!(q.is_empty());
    }

    #[test]
    fn what_ends_with_its_head() {
        let table = [
            ("", false),
            ("Q", true),
            ("QQ", false),
            ("ES", true),
            ("E", false),
            ("EBES", true),
            ("ESQ", false),
            ("ESBES", false),
            ("ESB", false),
            ("EQS", true),
        ];
        for (requests, want) in table {
            assert_eq!(queue(requests).ends_with_head(), want, "{requests}");
        }
    }

    #[test]
    fn an_error_in_a_simple_query_skips_nothing() {
        let mut q = queue("QQ");
        assert_eq!(feed(&mut q, "EZTDCZ"), "pepppe");
        assert!(q.is_empty());
    }

    #[test]
    fn copy_in_ignores_the_sync_sent_with_its_execute() {
        let mut q = queue("BES");
        assert_eq!(feed(&mut q, "2G"), "ep");
        push(&mut q, ".S");
        assert_eq!(feed(&mut q, "CZ"), "ee");
        assert!(q.is_empty());
    }

    #[test]
    fn copy_in_that_fails_is_answered_at_the_sync_behind_it() {
        let mut q = queue("BES");
        assert_eq!(feed(&mut q, "2G"), "ep");
        push(&mut q, ".S");
        assert_eq!(feed(&mut q, "EZ"), "f1e");
        assert!(q.is_empty());
        // The client has sent neither CopyDone nor Sync yet.
        let mut q = queue("BES");
        assert_eq!(feed(&mut q, "2GE"), "epf1");
        assert!(q.skipping());
        push(&mut q, ".S");
        assert_eq!(feed(&mut q, "Z"), "e");
    }

    #[test]
    fn copy_in_that_fails_before_it_reads_answers_both_syncs() {
        let mut q = queue("BES.S");
        assert_eq!(feed(&mut q, "2GEZZ"), "epf1ea");
    }

    #[test]
    fn a_copy_in_of_a_query_ignores_what_is_sent_before_its_end() {
        for (requests, tags, want) in [
            ("QS.", "GCZ", "ppe"),
            ("QSS.Q", "GCZCZ", "ppepe"),
            ("QS.S", "GCZZ", "ppee"),
            ("QS.S.", "GCGCZ", "ppppe"),
            ("QS.", "GEZ", "ppe"),
            ("QS.", "GEZZ", "ppea"),
            ("QS", "EZZ", "pee"),
            ("QQ", "GCZCZ", "ppepe"),
        ] {
            let mut q = queue(requests);
            assert_eq!(feed(&mut q, tags), want, "{requests} <- {tags}");
            assert!(q.is_empty(), "{requests} <- {tags}");
        }
    }

    #[test]
    fn a_copy_end_out_of_place_is_no_request() {
        let mut q = queue(".S");
        assert_eq!(feed(&mut q, "Z"), "e");
        assert!(q.is_empty());
    }
}
