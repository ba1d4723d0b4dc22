//! "Optional Platform-Specific File Handling": `wsgi.file_wrapper`.

use super::*;

fn digits(size: usize) -> Vec<u8> {
    b"0123456789".iter().copied().cycle().take(size).collect()
}

/// A file of that size, and both doors' answers to each of the paths.
fn sends(names: &[&str], size: usize, expected: impl Fn(&[u8]) -> Vec<u8>) {
    let doors = Doors::open("files:application");
    for name in names {
        for door in Door::ALL {
            // A file of its own for each: some applications change it.
            let folder = TempDir::new().unwrap();
            let file = folder.path().join("digits");
            fs::write(&file, digits(size)).unwrap();
            let request = get_with(&format!("/{name}"), &file);
            let answer = doors.through(door, &request);
            let expected = expected(&digits(size));
            assert!(
                answer.has_status(200).body == expected,
                "{door:?} {name}: {} bytes instead of {}: {answer:#?}",
                answer.body.len(),
                expected.len()
            );
        }
    }
}

#[test]
fn is_a_class() {
    for answer in Doors::open("files:application").get("/a_class") {
        answer.is(200, "a class");
    }
}

#[test]
fn sends_a_real_file() {
    let names = [
        "plain",
        "unbuffered",
        "without_size",
        "tiny_blocks",
        "exact_length",
    ];
    sends(&names, 100_003, <[u8]>::to_vec);
}

/// Sizes around a record's content (65,535), an aligned one (65,528) and a pipe's buffer.
#[test]
fn sends_files_of_every_size() {
    for size in [
        0, 1, 65_527, 65_528, 65_529, 65_535, 65_536, 65_537, 131_056,
    ] {
        sends(&["plain"], size, <[u8]>::to_vec);
    }
    sends(&["plain"], 5_000_000, <[u8]>::to_vec);
}

/// The current position is Python's, which its buffer has read past.
#[test]
fn sends_from_the_current_offset() {
    sends(&["after_five"], 100_003, |all| all[5..].to_vec());
    sends(&["after_all"], 100_003, |_| Vec::new());
}

#[test]
fn sends_anything_with_a_read_method() {
    let names = ["bytes_io", "only_read", "zipped"];
    sends(&names, 100_003, <[u8]>::to_vec);
}

/// GzipFile.fileno() is the compressed file's.
#[test]
fn sends_what_read_gives_and_not_what_lies_on_the_disk() {
    sends(&["zipped_file"], 100_003, <[u8]>::to_vec);
    sends(&["appended"], 100_003, |all| [all, b"the end"].concat());
}

#[test]
fn sends_temporary_files() {
    let names = ["temporary", "named_temporary", "spooled", "rolled_over"];
    sends(&names, 100_003, <[u8]>::to_vec);
}

#[test]
fn sends_from_a_pipe() {
    sends(&["pipe"], 100_003, |all| all[..4096].to_vec());
}

#[test]
fn sends_after_what_was_written() {
    sends(&["after_write"], 100_003, |all| [b"written:", all].concat());
}

#[test]
fn is_an_iterable_for_middleware() {
    sends(&["through_middleware"], 100_003, |all| {
        all.iter()
            .map(|byte| if *byte == b'0' { b'x' } else { *byte })
            .collect()
    });
    sends(&["range_of_it"], 100_003, |all| all[..10].to_vec());
}

#[test]
fn sends_no_more_than_content_length() {
    sends(&["length_shorter"], 100_003, |all| all[..7].to_vec());
    sends(&["length_shorter_after_five"], 100_003, |all| {
        all[5..12].to_vec()
    });
}

/// It is how a Range is answered.
#[test]
fn of_which_a_part_is_sent_is_no_error() {
    let doors = Doors::open("files:application");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("digits");
    fs::write(&file, digits(100_003)).unwrap();
    for name in ["length_shorter", "length_shorter_in_memory"] {
        let request = get_with(&format!("/{name}"), &file);
        doors.fastcgi(&request).is(200, "0123456");
        let answer = doors.cgi(&request);
        answer.is(200, "0123456");
        assert_eq!(answer.errors(), "", "{name}");
    }
    let log = doors.close();
    assert!(!log.contains("error"), "{log}");
}

#[test]
fn with_less_than_content_length_cuts_the_connection() {
    let doors = Doors::open("files:application");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("digits");
    fs::write(&file, digits(1000)).unwrap();
    for answer in doors.ask(&get_with("/length_longer", &file)) {
        let body = String::from_utf8(digits(1000)).unwrap();
        answer.is_cut_after(200, &body).logged("Content-Length");
    }
}

#[test]
fn closes_the_file_once_on_every_path() {
    for (name, method, status, length) in [
        ("marked", "GET", 200, 1000),
        ("marked", "HEAD", 200, 0),
        ("marked_short_length", "GET", 200, 7),
        ("no_content", "GET", 204, 0),
        ("plain_open_file", "GET", 200, 1000),
    ] {
        let doors = Doors::open("files:application");
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("digits");
        fs::write(&file, digits(1000)).unwrap();
        let request = get_with(&format!("/{name}"), &file).param("REQUEST_METHOD", method);
        for answer in doors.ask(&request) {
            answer.has_status(status);
            assert_eq!(answer.body.len(), length, "{answer:#?}");
        }
        doors.close();
        let mark = folder.path().join("digits.closed");
        assert_eq!(marks(&mark), Door::ALL.len(), "{name} {method}");
    }
}

/// The gateway must not go on with a file of which nobody reads the rest.
#[test]
fn stops_when_the_client_has_left() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("digits");
    fs::write(&file, digits(20_000_000)).unwrap();
    let gateway = Gateway::start("files:application", &[]);
    let mut connection = Connection::open(gateway.socket());
    connection.write(&get_with("/marked", &file).bytes());
    assert_eq!(connection.read_record().unwrap().kind, STDOUT);
    drop(connection);
    wait_for_mark(&folder.path().join("digits.closed"));
    let response = fetch(gateway.socket(), &get_with("/a_class", &file));
    assert_eq!(response.expect(200).text(), "a class");
}
