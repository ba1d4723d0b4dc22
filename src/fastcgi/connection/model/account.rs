//! What the web server has said and got so far, and what it has to get.

use std::collections::BTreeMap;

use super::witness::{GotRecord, WireHeard, take_record};

/// A request that the application has, or had, and what it answers.
#[derive(Debug)]
pub(super) struct Served {
    /// Which of those that began.
    pub(super) begun: usize,
    pub(super) id: u16,
    /// Ends of requests of the same id before it that are on their way.
    pub(super) before: usize,
    pub(super) turn: u64,
    /// Bytes of the body that it has read.
    pub(super) read: usize,
    /// What is to leave on STDOUT, and how much has.
    pub(super) expected: Vec<u8>,
    pub(super) seen: usize,
    pub(super) ends: bool,
    pub(super) closed: bool,
    pub(super) reported: bool,
    pub(super) reports_closed: bool,
    /// Answered in the application's place.
    pub(super) page: bool,
    /// Broken off.
    pub(super) cut: bool,
    pub(super) finished: bool,
    /// Its END_REQUEST was seen.
    pub(super) over: bool,
    /// A file that leaves: its length as it is now.
    pub(super) file: Option<u64>,
}

/// What there is to hold.
#[derive(Debug, Default)]
pub(super) struct ModelAccount {
    pub(super) heard: WireHeard,
    pub(super) served: Option<Served>,
    /// What the web server got of a record that is not whole.
    got: Vec<u8>,
    /// Ends of requests that it got, by id; answers to questions, and to what is unknown.
    ends: BTreeMap<u16, usize>,
    answers: usize,
    unknown: usize,
    /// A response was broken off: nothing may follow.
    broken: bool,
    /// The connection is lost.
    pub(super) lost: bool,
}

impl ModelAccount {
    /// So much has left.
    pub(super) fn get(&mut self, bytes: &[u8], is_refusing: bool) {
        assert!(!self.lost, "sent on a lost connection: {bytes:?}");
        assert!(!self.broken, "sent behind a break: {bytes:?}");
        self.got.extend_from_slice(bytes);
        while let Some(record) = take_record(&mut self.got) {
            assert!(!self.broken, "sent behind a break: {record:?}");
            self.see(record, is_refusing);
        }
    }

    /// How many ends of requests of this id have come.
    pub(super) fn ends_of(&self, id: u16) -> usize {
        self.ends.get(&id).copied().unwrap_or(0)
    }

    /// Nothing is open any more.
    pub(super) fn close(&self) {
        assert!(!self.heard.faulty);
        let mut begun = BTreeMap::new();
        for request in &self.heard.begun {
            *begun.entry(request.id).or_default() += 1;
        }
        assert_eq!(self.ends, begun, "not each request has its end");
        let asked = (self.heard.questions, self.heard.unknown);
        assert_eq!((self.answers, self.unknown), asked, "questions and answers");
    }

    /// The web server got a record.
    fn see(&mut self, record: GotRecord, is_refusing: bool) {
        let (id, kind) = (record.id, record.kind);
        let of_id = self.heard.begun.iter().filter(|begun| begun.id == id);
        let aborted = of_id.clone().any(|begun| begun.aborted);
        let mut served = self.served.as_mut().filter(|served| served.id == id);
        let Some(content) = record.content else {
            let served = served.expect("only a response is broken off");
            assert!(served.cut && !served.closed, "{served:?}");
            assert!(
                aborted || served.seen == served.expected.len(),
                "not all of it: {} of {}, {served:?}",
                served.seen,
                served.expected.len()
            );
            self.broken = true;
            return;
        };
        match (kind, &mut served) {
            (10, _) => self.answers += 1,
            (11, _) => self.unknown += 1,
            (6, Some(served)) if !served.page => {
                assert!(!served.closed, "STDOUT of {id} behind its end");
                if content.is_empty() {
                    assert!(served.ends, "the response has not ended: {served:?}");
                    assert!(
                        aborted || served.seen == served.expected.len(),
                        "not all of it: {} of {}, {served:?}",
                        served.seen,
                        served.expected.len()
                    );
                    served.closed = true;
                } else {
                    let is_it = served.expected[served.seen..].starts_with(&content);
                    assert!(is_it || aborted, "not of the response to {id}: {content:?}");
                    served.seen += content.len() * usize::from(is_it);
                }
            }
            (6, served) => {
                if let Some(served) = served {
                    served.closed |= content.is_empty();
                }
                assert!(of_id.count() > 0 && content.is_ascii(), "{content:?}");
            }
            (7, Some(served)) if content.is_empty() => {
                assert!(served.reported && served.closed && !served.reports_closed);
                served.reports_closed = true;
            }
            (7, Some(served)) => {
                assert!(!served.closed, "a report behind the end");
                assert!(content.iter().all(|byte| *byte == b'a'), "{content:?}");
                served.reported = true;
            }
            (3, _) => self.see_end(id, &content, aborted, is_refusing),
            _ => panic!("a record that nobody asked for: {kind} of {id}, {content:?}"),
        }
    }

    fn see_end(&mut self, id: u16, content: &[u8], aborted: bool, is_refusing: bool) {
        let &[0, 0, 0, cut, status, 0, 0, 0] = content else {
            panic!("a strange end: {content:?}");
        };
        let of_id = self.heard.begun.iter().filter(|begun| begun.id == id);
        let begun = of_id.clone().count();
        let ends = self.ends.entry(id).or_default();
        *ends += 1;
        assert!(
            *ends <= begun,
            "{id} ended {ends} times and began {begun} times"
        );
        let before = self.served.as_mut().filter(|served| served.id == id);
        if let Some(served) = before.filter(|served| served.before > 0) {
            served.before -= 1;
            assert!(status != 0 || cut == 0 && aborted);
            return;
        }
        let served = self.served.take_if(|served| served.id == id);
        match (status, served) {
            (0, Some(served)) => {
                let is_whole = served.closed
                    && served.seen == served.expected.len()
                    && served.reports_closed == served.reported;
                let is_cut = cut == 1 && served.cut && served.seen == served.expected.len();
                assert!(
                    aborted || is_cut || served.page || (cut == 0 && is_whole),
                    "ended before its end: {served:?}"
                );
                assert!(!served.over, "two ends of {id}");
                // The application may still have it.
                self.served = Some(Served {
                    over: true,
                    ..served
                })
                .filter(|served| !served.finished);
            }
            (0, None) => assert!(aborted || is_refusing, "an end of nothing: {id}"),
            (1, None) => {}
            (3, None) => assert!(of_id.clone().any(|begun| ![1, 2].contains(&begun.role))),
            (_, served) => panic!("ended with {status}: {served:?}"),
        }
    }
}
