//! What a responder bears: sizes, counts and time limits, each an option of the operator's, and for whom it is.

use std::time::Duration;

/// The limits of a responder.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Whether the peers are CGI programs that pass on what they were started for, and what comes back as it comes: then a head
    /// is written as a CGI program writes it, and an END_REQUEST has the status that it is to exit with.
    pub for_cgi: bool,
    /// Bytes of the PARAMS stream; above it the answer is a 431 page.
    pub params: usize,
    /// Bytes of a request's body; above it the answer is a 413 page.
    pub body: Option<u64>,
    /// Bytes of the body that are read before a thread is given to the request.
    pub buffer: usize,
    /// Open connections; above it the answer is a 503 page.
    pub connections: usize,
    /// From a request's first byte until its variables are whole.
    pub header_timeout: Duration,
    /// Between two requests on a connection, and before the first.
    pub idle_timeout: Duration,
    /// Bytes of memory for complete responses that web servers have not taken yet, of all connections together.
    pub unsent: usize,
    /// For each wait within a body or a response, when the web server neither sends nor takes a byte.
    pub io_timeout: Duration,
}

/// How many connections above [`Limits::connections`] are taken only to be told that the responder is full, at most.
const TURNED_AWAY: usize = 64;

/// Descriptors that are left to the application, to Python and to our listeners and log.
const RESERVE: usize = 32;

impl Limits {
    /// Lowers [`Limits::connections`] to what a process with this limit of open files can have, and says so in the log.
    pub fn fit(&mut self, open_files: u64) {
        let most = Self::most(open_files);
        if self.connections > most {
            log::warn!(
                "--max-connections lowered from {} to {most}: the limit of open files is {open_files} (ulimit -n, \
                 LimitNOFILE= or --max-open-files)",
                self.connections
            );
            self.connections = most;
        }
    }

    /// So many connections can a process with this limit of open files have.
    pub fn most(open_files: u64) -> usize {
        let room = Self::room(open_files);
        room.saturating_sub((room / 8).clamp(1, TURNED_AWAY)).max(1)
    }

    /// How many connections above [`Limits::connections`] are taken only to be told that the responder is full.
    pub(super) fn turned_away(&self, open_files: u64) -> usize {
        let room = Self::room(open_files).saturating_sub(self.connections);
        room.clamp(1, TURNED_AWAY)
    }

    fn room(open_files: u64) -> usize {
        let files = usize::try_from(open_files).unwrap_or(usize::MAX);
        files.saturating_sub(RESERVE)
    }
}

/// How long a connection that we are done with may take to close its side, so that it sees our answer and not a reset.
pub(super) const LINGER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_the_application() {
        for (files, wanted, connections, turned_away) in [
            (1_048_576, 1024, 1024, 64),
            (u64::MAX, 1024, 1024, 64),
            (1152, 1024, 1024, 64),
            (1088, 1024, 992, 64),
            (64, 1024, 28, 4),
            (64, 10, 10, 22),
            (40, 1024, 7, 1),
            (16, 1024, 1, 1),
        ] {
            let mut limits = Limits {
                for_cgi: false,
                params: 1,
                body: None,
                buffer: 1,
                unsent: 1,
                connections: wanted,
                header_timeout: LINGER,
                idle_timeout: LINGER,
                io_timeout: LINGER,
            };
            limits.fit(files);
            let found = (limits.connections, limits.turned_away(files));
            assert_eq!(found, (connections, turned_away), "{files} open files");
        }
    }
}
