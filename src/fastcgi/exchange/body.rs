//! The half of the seam that reads the request's body.

use std::io;

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::uio::readv;

use super::super::connection::Filled;
use super::super::link::Got;
use super::{FastcgiExchange, READ, Waiter};
use crate::gateway::RequestBody;

/// Bytes of a body that are read straight to where they are wanted: fewer are not worth a call of their own.
const MIN_DIRECT: usize = 4096;

impl RequestBody for FastcgiExchange {
    fn remaining(&self) -> Option<u64> {
        let mut connection = self.link.lock();
        connection
            .request(self.turn)
            .map_or(Some(0), |request| request.body.remaining())
    }

    fn take(&self, work: &mut dyn FnMut(&[u8]) -> usize) -> io::Result<()> {
        let mut connection = self.link.lock();
        let request = connection.request(self.turn)?;
        let count = work(request.body.here());
        request.body.consume(count);
        Ok(())
    }

    fn fill(&self) -> io::Result<bool> {
        self.noted(|| {
            let _reader = Waiter::new(&self.readers);
            let mut wire = [0; READ];
            loop {
                let mut connection = self.link.lock();
                let filled = connection.fill(self.turn);
                if connection.has_unsent() {
                    // The answer to a question in the middle of the body.
                    self.link.flush(&mut connection);
                }
                match filled? {
                    Filled::Here => return Ok(true),
                    Filled::Ended => return Ok(false),
                    Filled::Wait if connection.is_held_up() => {
                        drop(connection);
                        self.wait_ready(PollFlags::POLLOUT)?;
                        continue;
                    }
                    Filled::Wait => {}
                }
                match self.link.read(&mut wire) {
                    Got::Bytes(count) => connection.push_ahead(&wire[..count]),
                    Got::End => connection.end_of_input(),
                    Got::Nothing => {
                        drop(connection);
                        self.wait_ready(PollFlags::POLLIN)?;
                    }
                }
            }
        })
    }

    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.noted(|| {
            let _reader = Waiter::new(&self.readers);
            loop {
                let mut count = 0;
                self.take(&mut |here| {
                    count = here.len().min(into.len());
                    into[..count].copy_from_slice(&here[..count]);
                    count
                })?;
                if count > 0 || into.is_empty() {
                    return Ok(count);
                }
                let mut connection = self.link.lock();
                connection.request(self.turn)?;
                let direct = connection.direct().min(into.len());
                if direct < MIN_DIRECT {
                    drop(connection);
                    if !self.fill()? {
                        return Ok(0);
                    }
                    continue;
                }
                // The middle of a large record: straight to where it belongs, and the next header with it.
                let mut next = [0; 64];
                let mut pieces = [
                    io::IoSliceMut::new(&mut into[..direct]),
                    io::IoSliceMut::new(&mut next),
                ];
                match readv(&*self.link, &mut pieces) {
                    Ok(0) => connection.end_of_input(),
                    Ok(count) => {
                        let content = count.min(direct);
                        connection.count_direct(content);
                        connection.push_ahead(&next[..count - content]);
                        connection.read_ahead();
                        return Ok(content);
                    }
                    Err(Errno::EAGAIN) => {
                        drop(connection);
                        self.wait_ready(PollFlags::POLLIN)?;
                    }
                    Err(Errno::EINTR) => {}
                    Err(_) => connection.end_of_input(),
                }
            }
        })
    }
}
