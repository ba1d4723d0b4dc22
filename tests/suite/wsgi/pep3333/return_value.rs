//! What an application may return, and when its blocks leave.

use super::*;

#[test]
fn may_be_any_iterable_of_bytes() {
    let doors = Doors::open("bodies:application");
    for name in [
        "a_list",
        "a_tuple",
        "an_iterator",
        "a_map",
        "keys",
        "a_sequence",
        "empty_blocks_between",
    ] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is(200, "one,two,three");
        }
    }
}

#[test]
fn may_yield_nothing_and_the_head_is_still_sent() {
    let doors = Doors::open("bodies:application");
    for name in ["empty_list", "empty_block", "empty_generator"] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is(200, "");
            assert_eq!(answer.header("Content-Type"), Some("text/plain"));
        }
    }
}

#[test]
fn blocks_are_sent_unaltered_and_in_order() {
    let doors = Doors::open("bodies:application");
    let every_byte: Vec<u8> = (0..=255).collect();
    for answer in doors.get("/every_byte") {
        assert_eq!(answer.has_status(200).body, every_byte);
    }
    let pattern: Vec<u8> = (0..251).cycle().take(1_000_000).collect();
    for name in ["large_list", "large_blocks"] {
        for answer in doors.get(&format!("/{name}")) {
            assert!(
                answer.has_status(200).body == pattern,
                "{:?}: {} bytes",
                answer.door,
                answer.body.len()
            );
        }
    }
    let numbers: Vec<String> = (0..5000).map(|number| format!("{number},")).collect();
    let numbers = numbers.concat();
    for answer in doors.get("/many_blocks_in_a_list") {
        answer.is(200, &numbers);
    }
}

#[test]
fn must_yield_bytes_and_nothing_else() {
    let doors = Doors::open("failing:application");
    for name in [
        "returns_none",
        "returns_a_number",
        "returns_str",
        "str_block",
        "str_block_in_a_generator",
        "number_block",
        "none_block",
    ] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is_error_page();
        }
    }
    for answer in Doors::open("bodies:application").get("/bytes_itself") {
        answer.is_error_page().logged("bytes");
    }
}

/// Iterating over it gives numbers or letters, which is not what the author has to be told of.
#[test]
fn that_is_its_own_block_is_told_with_the_way_out() {
    let doors = Doors::open("bodies:application");
    for (name, way_out) in [
        (
            "bytes_itself",
            "its body as bytes, and WSGI wants a list of bytes, or another iterable of them: return [body]",
        ),
        ("bytearray_itself", "its body as bytearray,"),
        ("memoryview_itself", "its body as memoryview,"),
        ("str_itself", "its body as str,"),
        ("kind_of_str_itself", "return [body.encode()]"),
        ("dict_itself", "return [json.dumps(body).encode()]"),
    ] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is_error_page().logged(way_out);
        }
    }
}

#[test]
fn a_wrong_block_after_a_right_one_never_ends_as_a_whole_response() {
    let doors = Doors::open("failing:application");
    for answer in doors.get("/second_block_is_str") {
        if answer.status == 500 {
            answer.is_error_page();
        } else {
            answer.is_cut_after(200, "half");
        }
    }
}

/// "The server or gateway must transmit each yielded bytestring to the client before requesting
/// another one": no block is held back ("Buffering and Streaming").
#[test]
fn no_block_is_held_back() {
    each_piece_arrives_before_the_next_is_made("/blocks");
}

#[test]
fn no_write_is_held_back() {
    each_piece_arrives_before_the_next_is_made("/writes");
}

fn each_piece_arrives_before_the_next_is_made(path: &str) {
    let folder = TempDir::new().unwrap();
    let fifo = Fifo::new(folder.path().join("go"));
    let request = get_with(path, fifo.path());

    let gateway = Gateway::start("streaming:application", &[]);
    let mut connection = Connection::open(gateway.socket());
    connection.write(&request.bytes());
    let mut seen = Vec::new();
    for piece in ["first,", "second,", "third"] {
        while !String::from_utf8_lossy(&seen).ends_with(piece) {
            let record = connection.read_record().unwrap();
            assert_eq!(record.kind, STDOUT, "{record:?}");
            seen.extend(record.content);
        }
        fifo.go();
    }
    assert!(String::from_utf8_lossy(&seen).ends_with("\r\n\r\nfirst,second,third"));
    let rest = std::iter::from_fn(|| connection.read_record());
    assert_eq!(rest.last().unwrap().kind, END_REQUEST);
    drop(gateway);

    let folder = TempDir::new().unwrap();
    let fifo = Fifo::new(folder.path().join("go"));
    let cgi = Cgi::new("streaming:application", &get_with(path, fifo.path())).spawn();
    for piece in ["first,", "second,", "third"] {
        cgi.wait_for_stdout(piece.as_bytes());
        fifo.go();
    }
    let output = cgi.finish();
    assert_eq!(output.code, 0);
    assert_eq!(output.response().body, b"first,second,third");
}

/// "Handling the Content-Length Header": the gateway may add one where it knows; the decision is to add
/// nothing at all, because every web server does that better.
#[test]
fn nothing_is_added_to_the_head() {
    let doors = Doors::open("bodies:application");
    for answer in doors.get("/a_list") {
        answer.is(200, "one,two,three");
        let head = [("Content-Type".to_owned(), "text/plain".to_owned())];
        assert_eq!(answer.headers, head, "{answer:#?}");
    }
    for answer in doors.get("/no_headers") {
        answer.is(200, "one,two,three");
        assert_eq!(answer.headers, [], "{answer:#?}");
    }
}
