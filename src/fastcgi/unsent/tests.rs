//! What is queued leaves byte for byte, in steps of any size, from memory or from files.

use std::os::unix::fs::FileExt;

use super::super::content::FileAtRecord;
use super::super::record::{HEADER_LENGTH, MAX_CONTENT, RecordType, write_record};
use super::{Headers, MAX_BESIDE, Next, SentFile, Unsent};
use proptest::prelude::{any, prop, prop_assert_eq, proptest};
use std::sync::Arc;

/// Sends everything in steps of these sizes, over and over.
fn drain(unsent: &mut Unsent, steps: &[usize]) -> Vec<u8> {
    let (mut out, mut headers) = (Vec::new(), Headers::new());
    for step in steps.iter().cycle() {
        if unsent.is_empty() {
            break;
        }
        let taken = match unsent.next(&mut headers) {
            Next::Nothing => break,
            Next::Bytes(slices) => {
                let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                let taken = all.len().min(*step);
                out.extend_from_slice(&all[..taken]);
                taken
            }
            Next::File(file, at, most) => {
                let mut piece = vec![0; most.min(*step)];
                let file: std::fs::File = file.try_clone_to_owned().unwrap().into();
                let taken = file.read_at(&mut piece, at).unwrap();
                out.extend_from_slice(&piece[..taken]);
                taken
            }
        };
        assert!(taken > 0, "something is to be sent, and there is nothing");
        unsent.advance(taken);
    }
    assert!(unsent.is_empty());
    out
}

fn stdout(out: &mut Vec<u8>, bytes: &[u8]) {
    for piece in bytes.chunks(MAX_CONTENT) {
        write_record(out, RecordType::Stdout, 1, piece);
    }
}

/// Records of a file from `at` on end where a page ends, and have no more than fifteen.
fn file_stdout(out: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let (first, rest) = bytes.split_at(bytes.len().min(61_440 - at % 4096));
    for piece in std::iter::once(first).chain(rest.chunks(61_440)) {
        if !piece.is_empty() {
            write_record(out, RecordType::Stdout, 1, piece);
        }
    }
}

fn some(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// A queue of all kinds of pieces of these lengths, and the bytes that it is to give.
fn queue(lengths: &[(u8, usize)], file: &std::fs::File) -> (Unsent, Vec<u8>) {
    let (mut unsent, mut expected) = (Unsent::default(), Vec::new());
    for &(kind, length) in lengths {
        let bytes = some(length);
        match kind % 3 {
            0 => {
                write_record(
                    unsent.records(),
                    RecordType::Stderr,
                    1,
                    &bytes[..length % 60_000],
                );
                write_record(
                    &mut expected,
                    RecordType::Stderr,
                    1,
                    &bytes[..length % 60_000],
                );
            }
            1 => {
                unsent.push_kept(1, Box::new(bytes.clone()), length);
                stdout(&mut expected, &bytes);
            }
            _ => {
                let at = length % 10_000;
                unsent.push_file(1, sent(file, true), at as u64, length as u64);
                file_stdout(&mut expected, at, &some(300_000)[at..at + length]);
            }
        }
    }
    (unsent, expected)
}

fn file() -> std::fs::File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&some(300_000), 0).unwrap();
    file
}

fn sent(file: &std::fs::File, told: bool) -> SentFile {
    SentFile {
        file: file.try_clone().unwrap().into(),
        subject: String::new(),
        cut: told.then(|| b"cut".to_vec()),
    }
}

#[test]
fn a_file_that_ends_early_ends_the_response_only_where_no_length_was_told() {
    let file = file();
    for told in [false, true] {
        let mut unsent = Unsent::default();
        unsent.push_file(1, sent(&file, told), 299_990, 500);
        unsent.records().extend_from_slice(b"end");
        let FileAtRecord { at, length, .. } = unsent.file_at_record().unwrap();
        assert_eq!(
            (at, length),
            (299_990, if told { 500 } else { 61_440 - 299_990 % 4096 })
        );
        let last = &some(300_000)[299_990..];
        unsent.file_gave(last).unwrap();
        assert_eq!(unsent.file_gave(&[]).is_err(), told);
        let mut expected = Vec::new();
        stdout(&mut expected, last);
        expected.extend_from_slice(if told { b"cut" } else { b"end" });
        assert_eq!(drain(&mut unsent, &[7]), expected);
    }
}

#[test]
fn answers_that_have_left_do_not_count_when_the_rest_is_abandoned() {
    let mut unsent = Unsent::default();
    let answers = MAX_BESIDE - HEADER_LENGTH;
    unsent.put_answer(|out| write_record(out, RecordType::UnknownType, 0, &some(answers)));
    unsent.push_kept(1, Box::new(some(100)), 100);
    assert!(!unsent.has_room_for_answers());
    unsent.advance(MAX_BESIDE);
    assert!(!unsent.has_room_for_answers());
    unsent.abandon();
    assert!(unsent.is_empty() && unsent.has_room_for_answers());
}

#[test]
fn a_place_for_records_that_is_not_used_is_nothing_to_send() {
    let mut unsent = Unsent::default();
    unsent.push_kept(1, Box::new(*b"kept"), 4);
    let _ = unsent.records();
    let length = HEADER_LENGTH + 4;
    assert_eq!(drain(&mut unsent, &[length]).len(), length);
    let _ = unsent.records();
    assert!(unsent.is_empty());
}

#[test]
fn an_abandoned_response_ends_with_a_whole_record() {
    let (mut unsent, expected) = queue(&[(1, 200_000), (0, 10)], &file());
    unsent.advance(100);
    unsent.abandon();
    let mut all = expected[..100].to_vec();
    all.extend(drain(&mut unsent, &[33]));
    let mut end = Vec::new();
    stdout(&mut end, &some(MAX_CONTENT));
    write_record(&mut end, RecordType::Stderr, 1, &some(10));
    assert_eq!(all, end);
}

/// Has it leave from a file what lies in memory, of which so many bytes leave while that is written.
fn move_to_file(unsent: &mut Unsent, meanwhile: usize) -> Vec<u8> {
    let (file, mut offset, mut parts) = (tempfile::tempfile().unwrap(), 0, Vec::new());
    for part in unsent.in_memory() {
        file.write_all_at(part.bytes(), offset).unwrap();
        let next = offset + part.bytes().len() as u64;
        parts.push((part, offset));
        offset = next;
    }
    let left = leave(unsent, meanwhile);
    unsent.move_to(&Arc::new(file.into()), &parts);
    assert!(unsent.in_memory().is_empty());
    left
}

/// Lets so many of the next bytes leave, if they are in memory.
fn leave(unsent: &mut Unsent, most: usize) -> Vec<u8> {
    let mut headers = Headers::new();
    let Next::Bytes(slices) = unsent.next(&mut headers) else {
        return Vec::new();
    };
    let mut all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
    all.truncate(most);
    unsent.advance(all.len());
    all
}

/// The types of the records and their contents, those that follow each other on the same stream joined: where records end is
/// nobody's business.
fn joined(mut wire: &[u8]) -> Vec<u8> {
    let (mut out, mut last) = (Vec::new(), 0);
    while let Some((head, rest)) = wire.split_at_checked(8) {
        let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
        if last != head[1] {
            out.push(head[1]);
            last = head[1];
        }
        out.extend_from_slice(&rest[..length]);
        wire = &rest[length..];
    }
    out
}

#[test]
fn what_was_moved_to_a_file_is_abandoned_like_the_rest() {
    let (mut unsent, expected) = queue(&[(1, 200_000), (1, 100_000), (0, 10)], &file());
    let mut all = leave(&mut unsent, 100);
    all.extend(move_to_file(&mut unsent, 20));
    unsent.abandon();
    all.extend(drain(&mut unsent, &[33]));
    let mut end = expected[..MAX_CONTENT + 8].to_vec();
    write_record(&mut end, RecordType::Stderr, 1, &some(10));
    assert_eq!(all, end);
}

proptest! {
    #[test]
    fn any_pieces_leave_as_their_records_in_steps_of_any_size(
        lengths in prop::collection::vec((any::<u8>(), 0usize..200_000), 0..6),
        steps in prop::collection::vec(1usize..150_000, 1..6),
        before in 0usize..300_000,
        moves in any::<bool>(),
        meanwhile in 0usize..300_000,
    ) {
        let (mut unsent, mut expected) = queue(&lengths, &file());
        let mut out = leave(&mut unsent, before);
        if moves {
            out.extend(move_to_file(&mut unsent, meanwhile));
        }
        out.extend(drain(&mut unsent, &steps));
        if moves {
            (out, expected) = (joined(&out), joined(&expected));
        }
        prop_assert_eq!(out, expected);
    }
}
