//! How far a response is: the one place that knows, with the rules of PEP 3333 about when the head leaves, how much of the
//! body may follow, and what is too little. A transport asks before it sends.

use std::io;

use thiserror::Error;

use super::{Head, Pushed};

/// How far a response is.
#[derive(Debug)]
pub struct ResponseProgress {
    state: ResponseStage,
    /// The request's method is HEAD: the body stays here (RFC 9110 section 9.3.2).
    is_head: bool,
}

#[derive(Debug)]
enum ResponseStage {
    /// `start_response` was not called.
    NotStarted,
    /// The head waits for the first block.
    Started(Head),
    /// The head has left, or is on its way.
    Begun(Begun),
    /// So is the last byte.
    Ended,
    /// Nothing more can be sent, with the head gone or not.
    Failed(Option<Begun>),
}

/// What may still be sent behind a head.
#[derive(Clone, Copy, Debug)]
struct Begun {
    /// Bytes of the announced Content-Length that have not been sent.
    left: Option<u64>,
    /// HEAD, 204 or 304.
    bodiless: bool,
}

impl Begun {
    /// Whether a client that gets less than all can tell.
    fn tells_its_end(self) -> bool {
        self.bodiless || self.left.is_some()
    }
}

/// Why a response cannot begin (PEP 3333, "The start_response() Callable").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StartError {
    /// Another has begun, and nothing says that this one is to replace it.
    #[error("start_response was called a second time without exc_info")]
    Second,
    /// The head has left.
    #[error("the head left while start_response was being called again")]
    Begun,
    /// The request has ended.
    #[error("start_response was called after its request has ended")]
    Over,
}

/// What of a piece may leave.
#[derive(Debug)]
pub struct Portion {
    /// The head, if it leaves with this piece.
    pub head: Option<Head>,
    /// How many bytes of the piece.
    pub bytes: u64,
    /// Whether the response ends with it.
    pub ends: bool,
    /// Whether no byte of the announced Content-Length is left behind it.
    pub is_whole: bool,
    /// Whether the client knows how long the body is.
    pub tells_its_end: bool,
    /// What the application is told.
    pub pushed: Pushed,
    /// Bytes that the body lacks though this was its last piece: the response can only be cut.
    lacks: u64,
}

impl Portion {
    /// What the application is told, once the piece was sent.
    ///
    /// # Errors
    /// `InvalidData` when the body is shorter than its Content-Length.
    pub fn result(&self) -> io::Result<Pushed> {
        if self.lacks > 0 {
            Err(too_short(self.lacks))
        } else {
            Ok(self.pushed)
        }
    }
}

fn too_short(lacks: u64) -> io::Error {
    let text = format!("the response's body ended {lacks} bytes before its Content-Length");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl ResponseProgress {
    /// The progress of a response that nobody has begun.
    pub fn new(is_head: bool) -> Self {
        Self {
            state: ResponseStage::NotStarted,
            is_head,
        }
    }

    /// Begins a response; `replaces`: in place of one that was begun.
    ///
    /// # Errors
    /// When it may not begin.
    pub fn start(&mut self, head: Head, replaces: bool) -> Result<(), StartError> {
        match self.state {
            ResponseStage::NotStarted => {}
            // Nobody gets it, which is no fault of the application's: it learns that when it sends.
            ResponseStage::Failed(None) => return Ok(()),
            ResponseStage::Started(_) if replaces => {}
            ResponseStage::Started(_) => return Err(StartError::Second),
            ResponseStage::Begun(_) | ResponseStage::Ended | ResponseStage::Failed(_)
                if replaces =>
            {
                return Err(StartError::Begun);
            }
            ResponseStage::Begun(_) | ResponseStage::Ended | ResponseStage::Failed(_) => {
                return Err(StartError::Second);
            }
        }
        self.state = ResponseStage::Started(head);
        Ok(())
    }

    /// Whether a response was begun by the application.
    pub fn is_started(&self) -> bool {
        !matches!(self.state, ResponseStage::NotStarted)
    }

    /// Whether the head has left, or can leave no more.
    pub fn has_begun(&self) -> bool {
        !matches!(
            self.state,
            ResponseStage::NotStarted | ResponseStage::Started(_)
        )
    }

    /// Whether the response came to its end.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, ResponseStage::Ended)
    }

    /// Whether it is in the middle: a part has left, the end has not.
    pub fn is_cut(&self) -> bool {
        matches!(
            self.state,
            ResponseStage::Begun(_) | ResponseStage::Failed(Some(_))
        )
    }

    /// How many bytes of the body the head has promised that have not been sent, where it has left and said so.
    pub fn owed(&self) -> Option<u64> {
        match self.state {
            ResponseStage::Begun(begun) | ResponseStage::Failed(Some(begun)) if begun.bodiless => {
                Some(0)
            }
            ResponseStage::Begun(begun) | ResponseStage::Failed(Some(begun)) => begun.left,
            _ => None,
        }
    }

    /// Whether sending has failed.
    pub fn has_failed(&self) -> bool {
        matches!(self.state, ResponseStage::Failed(_))
    }

    /// Whether the response has no body, whatever the application yields.
    pub fn is_bodiless(&self) -> bool {
        match &self.state {
            ResponseStage::Started(head) => self.is_head || head.is_bodiless(),
            ResponseStage::Begun(begun) => begun.bodiless,
            _ => false,
        }
    }

    /// How much of a piece of `total` bytes may leave, which counts as sent from here on: say [`ResponseProgress::fail`]
    /// when it was not.
    ///
    /// # Errors
    /// `BrokenPipe` when nothing more can be sent. `InvalidData` when this is all of a body that is shorter than its
    /// Content-Length: nothing has left, and another response may begin.
    pub fn admit(&mut self, total: u64, last: bool) -> io::Result<Portion> {
        self.admit_as(total, last, false)
    }

    /// As [`ResponseProgress::admit`], for all that there is of a file: of one that is too short what there is may leave.
    ///
    /// # Errors
    /// `BrokenPipe` when nothing more can be sent.
    pub fn admit_file(&mut self, total: u64) -> io::Result<Portion> {
        self.admit_as(total, true, true)
    }

    fn admit_as(&mut self, total: u64, last: bool, though_short: bool) -> io::Result<Portion> {
        let (head, begun) = match std::mem::replace(&mut self.state, ResponseStage::NotStarted) {
            ResponseStage::Started(head) => {
                let bodiless = self.is_head || head.is_bodiless();
                let left = head.content_length().filter(|_| !bodiless);
                (Some(head), Begun { left, bodiless })
            }
            ResponseStage::Begun(begun) => (None, begun),
            other => {
                self.state = other;
                let text = "the response is over";
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, text));
            }
        };
        let (bytes, pushed) = match begun.left {
            _ if begun.bodiless && total > 0 => (0, Pushed::Dropped),
            Some(left) if total > left => (left, Pushed::Cut),
            _ => (total, Pushed::Whole),
        };
        let left = begun.left.map(|left| left - bytes);
        let lacks = left.filter(|_| last).unwrap_or(0);
        if let (Some(head), 1.., false) = (&head, lacks, though_short) {
            self.state = ResponseStage::Started(head.clone());
            return Err(too_short(lacks));
        }
        let ends = last && lacks == 0;
        self.state = if ends {
            ResponseStage::Ended
        } else {
            ResponseStage::Begun(Begun { left, ..begun })
        };
        Ok(Portion {
            head,
            bytes,
            ends,
            is_whole: ends || left == Some(0),
            tells_its_end: begun.tells_its_end(),
            pushed,
            lacks,
        })
    }

    /// As [`ResponseProgress::admit`], for a block behind others that fits whole; `false` when it has to be admitted in
    /// the ordinary way.
    pub fn admit_whole(&mut self, length: u64) -> bool {
        match &mut self.state {
            ResponseStage::Begun(begun)
                if !begun.bodiless && begun.left.is_none_or(|left| left >= length) =>
            {
                begun.left = begun.left.map(|left| left - length);
                true
            }
            _ => false,
        }
    }

    /// Sending has failed, or is not wanted any more.
    pub fn fail(&mut self) {
        self.state = match self.state {
            ResponseStage::Begun(begun) => ResponseStage::Failed(Some(begun)),
            ResponseStage::Failed(begun) => ResponseStage::Failed(begun),
            ResponseStage::NotStarted | ResponseStage::Started(_) => ResponseStage::Failed(None),
            // Its end was on its way, and did not arrive.
            ResponseStage::Ended => ResponseStage::Failed(None),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::{ResponseProgress, StartError};
    use crate::gateway::{Head, Pushed};
    use std::io::ErrorKind;

    fn head(length: Option<u64>) -> Head {
        let mut head = Head::new(b"200 OK").unwrap();
        if let Some(length) = length {
            let length = length.to_string();
            head.field(b"Content-Length", length.as_bytes()).unwrap();
        }
        head
    }

    #[test]
    fn the_head_leaves_with_the_first_piece_only() {
        let mut progress = ResponseProgress::new(false);
        assert_eq!(
            progress.admit(1, false).unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        progress.start(head(None), false).unwrap();
        assert_eq!(progress.start(head(None), false), Err(StartError::Second));
        progress.start(head(None), true).unwrap();
        assert!(!progress.has_begun());
        let first = progress.admit(3, false).unwrap();
        assert!(first.head.is_some() && first.bytes == 3 && !first.ends);
        assert_eq!(progress.start(head(None), true), Err(StartError::Begun));
        let last = progress.admit(0, true).unwrap();
        assert!(last.head.is_none() && last.ends && progress.has_ended());
        assert_eq!(
            progress.admit(1, false).unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
    }

    #[test]
    fn a_body_ends_at_its_content_length() {
        let mut progress = ResponseProgress::new(false);
        progress.start(head(Some(5)), false).unwrap();
        assert!(!progress.admit(3, false).unwrap().is_whole);
        assert!(progress.admit_whole(1) && !progress.admit_whole(2));
        let more = progress.admit(2, false).unwrap();
        assert_eq!(
            (more.bytes, more.pushed, more.is_whole),
            (1, Pushed::Cut, true)
        );
        assert!(progress.admit(0, true).unwrap().ends);
    }

    #[test]
    fn a_body_that_is_too_short_is_no_end() {
        let mut progress = ResponseProgress::new(false);
        progress.start(head(Some(5)), false).unwrap();
        assert_eq!(
            progress.admit(3, true).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
        assert_eq!(
            progress.admit(0, true).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
        // Nothing has left: an error page may follow.
        progress.start(head(None), true).unwrap();
        progress.start(head(Some(5)), true).unwrap();
        progress.admit(3, false).unwrap();
        let last = progress.admit(1, true).unwrap();
        assert!(!last.ends && progress.is_cut());
        assert_eq!(progress.owed(), Some(1));
        assert_eq!(last.result().unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn head_and_304_have_no_body_and_keep_their_length() {
        let mut progress = ResponseProgress::new(true);
        progress.start(head(Some(5)), false).unwrap();
        assert!(progress.is_bodiless());
        let all = progress.admit(5, true).unwrap();
        assert_eq!(
            (all.bytes, all.ends, all.pushed),
            (0, true, Pushed::Dropped)
        );
        assert!(all.result().is_ok());
    }

    #[test]
    fn what_has_failed_is_cut_only_where_something_left() {
        let mut progress = ResponseProgress::new(false);
        progress.fail();
        assert!(!progress.is_cut() && progress.has_begun());
        progress.start(head(None), false).unwrap();
        assert_eq!(
            progress.admit(1, true).unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        let mut progress = ResponseProgress::new(false);
        progress.start(head(None), false).unwrap();
        progress.admit(1, false).unwrap();
        progress.fail();
        assert!(progress.is_cut());
        assert_eq!(progress.owed(), None);
    }
}
