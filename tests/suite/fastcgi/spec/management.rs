//! Management records (section 4).

use super::*;

// ---- 4.1 FCGI_GET_VALUES

fn get_values(connection: &mut Connection, names: &[&str]) -> Vec<Pair> {
    let asked: Vec<Pair> = names.iter().map(|name| pair(name, "")).collect();
    connection.record(GET_VALUES, 0, &pairs(&asked), 3);
    values(connection)
}

fn values(connection: &mut Connection) -> Vec<Pair> {
    let result = connection.read_record().expect("FCGI_GET_VALUES_RESULT");
    assert_eq!((result.kind, result.id), (GET_VALUES_RESULT, 0));
    let mut found = parse_pairs(&result.content);
    found.sort();
    found
}

#[test]
fn section_4_1_get_values_is_answered_for_what_was_asked() {
    let gateway = Gateway::start("fcgi_unread", &["--max-connections", "77"]);
    let mut connection = Connection::open(gateway.socket());
    assert_eq!(
        get_values(&mut connection, &["FCGI_MAX_CONNS"]),
        [pair("FCGI_MAX_CONNS", "77")]
    );
    assert_eq!(
        get_values(&mut connection, &["FCGI_MPXS_CONNS"]),
        [pair("FCGI_MPXS_CONNS", "0")]
    );
    let all = ["FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"];
    let found = get_values(&mut connection, &all);
    assert_eq!(found.len(), 3);
    assert_eq!(found[0], pair("FCGI_MAX_CONNS", "77"));
    assert_eq!(found[1].0, b"FCGI_MAX_REQS");
    let requests: u32 = String::from_utf8_lossy(&found[1].1).parse().unwrap();
    // One request a connection, so it cannot be more than the connections.
    assert!((1..=77).contains(&requests), "{requests}");
    assert_eq!(found[2], pair("FCGI_MPXS_CONNS", "0"));
    assert_eq!(
        get_values(&mut connection, &["FCGI_NO_SUCH", "FCGI_MPXS_CONNS", ""]),
        [pair("FCGI_MPXS_CONNS", "0")]
    );
    assert_eq!(get_values(&mut connection, &["NOTHING_KNOWN"]), []);
    assert_eq!(get_values(&mut connection, &[]), []);
    // The connection is as good as new.
    let response = connection.request(&Request::get("/served"));
    assert_eq!(response.expect(200).text(), "/served");
}

#[test]
fn section_4_1_get_values_and_a_request_in_one_write() {
    // HAProxy's `option get-values` does this.
    let gateway = Gateway::start("fcgi_unread", &[]);
    let mut connection = Connection::open(gateway.socket());
    let asked = pairs(&[pair("FCGI_MAX_REQS", ""), pair("FCGI_MPXS_CONNS", "")]);
    let mut wire = record(GET_VALUES, 0, &asked, 0);
    wire.extend(Request::get("/after").bytes());
    connection.write(&wire);
    assert_eq!(values(&mut connection).len(), 2);
    assert_eq!(connection.response(1).expect(200).text(), "/after");
}

#[test]
fn section_4_1_get_values_is_answered_while_a_request_is_arriving() {
    let gateway = Gateway::start("fcgi_echo", &[]);
    let mut connection = Connection::open(gateway.socket());
    let request = Request::post("/", b"two parts");
    let params = pairs(&request.params);
    connection.write(&begin(1, RESPONDER, 0));
    connection.record(PARAMS, 1, &params[..50], 0);
    assert_eq!(get_values(&mut connection, &["FCGI_MPXS_CONNS"]).len(), 1);
    connection.write(&stream(PARAMS, 1, &params[50..], 65_535));
    assert_eq!(get_values(&mut connection, &["FCGI_MAX_CONNS"]).len(), 1);
    connection.record(STDIN, 1, b"two ", 0);
    assert_eq!(get_values(&mut connection, &["FCGI_MAX_REQS"]).len(), 1);
    connection.record(STDIN, 1, b"parts", 0);
    connection.record(STDIN, 1, b"", 0);
    assert_eq!(connection.response(1).expect(200).text(), "two parts");
}

// ---- 4.2 FCGI_UNKNOWN_TYPE

#[test]
fn section_4_2_an_unknown_management_type_is_answered() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    let mut connection = Connection::open(gateway.socket());
    for kind in [12, 13, 99, 200, 255] {
        connection.record(kind, 0, b"some content", 4);
        let answer = connection.read_record().unwrap();
        assert_eq!((answer.kind, answer.id), (UNKNOWN_TYPE, 0));
        assert_eq!(answer.content, [kind, 0, 0, 0, 0, 0, 0, 0]);
    }
    // In the middle of a request as well.
    let request = Request::get("/still");
    connection.write(&request.head());
    connection.record(42, 0, b"", 0);
    assert_eq!(connection.read_record().unwrap().content[0], 42);
    connection.record(STDIN, 1, b"", 0);
    assert_eq!(connection.response(1).expect(200).text(), "/still");
}
