//! A response as records: its head, pieces of its body, what was reported beside it, and its end. No I/O.

use super::record::{
    HEADER_LENGTH, Header, MAX_CONTENT, ProtocolStatus, RecordType, Role, write_end_request,
    write_record, write_stderr,
};
use super::request::BegunRequest;
use super::unsent::Unsent;
use crate::gateway::{Head, Portion};

/// The most text in one STDERR record: HAProxy dies of one that is larger than its buffer of 16 KiB. See also `write_stderr`.
pub(super) const MAX_STDERR: usize = 8 * 1024;

/// Writes a piece of a response: what was reported, the head if it leaves now, `blocks` up to where they may go, and the
/// response's end if it is the last.
pub(super) fn write_piece(
    unsent: &mut Unsent,
    request: &mut BegunRequest,
    portion: &Portion,
    blocks: &[&[u8]],
) {
    write_reports(unsent, request);
    let id = request.id;
    let out = unsent.records();
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LENGTH]);
    if let Some(head) = &portion.head {
        write_head(head, request, out);
    }
    let mut room = usize::try_from(portion.bytes).unwrap_or(usize::MAX);
    for block in blocks {
        let count = room.min(block.len());
        out.extend_from_slice(&block[..count]);
        room -= count;
    }
    match out.len() - start - HEADER_LENGTH {
        // An empty STDOUT record would end the stream (section 3.3).
        0 => out.truncate(start),
        length @ 1..=MAX_CONTENT => {
            let length = u16::try_from(length).expect("MAX_CONTENT fits a record");
            let header = Header::new(RecordType::Stdout, id, length).bytes();
            out[start..start + HEADER_LENGTH].copy_from_slice(&header);
        }
        // A head of over 48 KiB.
        _ => {
            let bytes = out.split_off(start + HEADER_LENGTH);
            out.truncate(start);
            for piece in bytes.chunks(MAX_CONTENT) {
                write_record(out, RecordType::Stdout, id, piece);
            }
        }
    }
    if portion.ends {
        write_end(out, request);
    }
}

/// Writes what stands in front of a piece of a response that is sent from where it lies: what was reported, and the head if
/// it leaves now.
pub(super) fn write_opening(unsent: &mut Unsent, request: &mut BegunRequest, head: Option<&Head>) {
    write_reports(unsent, request);
    if let Some(head) = head {
        let mut bytes = Vec::new();
        write_head(head, request, &mut bytes);
        for piece in bytes.chunks(MAX_CONTENT) {
            write_record(unsent.records(), RecordType::Stdout, request.id, piece);
        }
    }
}

/// Writes what was reported as records of STDERR; but nothing while the web server has not taken a good part of what was
/// reported before: the log has it all.
pub(super) fn write_reports(unsent: &mut Unsent, request: &mut BegunRequest) {
    if request.reports.is_empty() {
        return;
    }
    if unsent.has_room_for_reports() {
        unsent.put_reports(|out| {
            for piece in request.reports.chunks(MAX_STDERR) {
                write_stderr(out, request.id, piece);
            }
        });
        request.reported = true;
    }
    request.reports.clear();
}

/// A head as the web server wants it: lighttpd lets nothing of an Authorizer's head through to the client before it has read a Status
/// other than 200 (section 6.3); for a Responder see `Head::write_status_last`.
fn write_head(head: &Head, request: &BegunRequest, out: &mut Vec<u8>) {
    match request.role {
        Role::Authorizer => head.write_status_first(out),
        _ if request.for_cgi => head.write_status_first(out),
        _ => head.write_status_last(out),
    }
}

/// The end of STDOUT, of STDERR if anything was reported on it, and of the request (sections 5.3 and 5.5).
pub(super) fn write_end(out: &mut Vec<u8>, request: &BegunRequest) {
    let id = request.id;
    write_record(out, RecordType::Stdout, id, &[]);
    if request.reported {
        write_record(out, RecordType::Stderr, id, &[]);
    }
    let exit_status = match request.for_cgi {
        true => request.exit_status,
        false => 0,
    };
    write_end_request(out, id, exit_status, ProtocolStatus::RequestComplete);
}
