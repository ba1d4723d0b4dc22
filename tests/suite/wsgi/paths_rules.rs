//! SCRIPT_NAME and PATH_INFO of every request in `tests/captures/`, asked of the rules themselves: the only tests here
//! that look past the door, because a process for each of the CGI requests takes too long. `paths_servers` sends the
//! same requests through the real binary.

use wsgi_gateway::gateway::{Circumstances, Meta, Mount, PathRule, Request, Variables};

use crate::support::captures::{Captured, Setup, Verdict, prefix, setups};
use crate::support::client::Pair;

/// What the rules say of a request: SCRIPT_NAME, PATH_INFO, and which rule it was.
fn ask(setup: &Setup, sent: &[Pair], mount: Option<&Mount>) -> (Vec<u8>, Vec<u8>, PathRule) {
    let mut variables = Variables::new();
    for (name, value) in sent {
        variables.push(name, value);
    }
    let circumstances = Circumstances {
        unframed: !setup.is_cgi,
        by_program: setup.is_cgi,
        mount,
    };
    let request = Request::of(&Meta::sent_in(&variables), circumstances);
    (
        request.script_name.to_vec(),
        request.path_info.to_vec(),
        request.path_rule,
    )
}

/// What is wrong with the answer, in a line.
fn fault(
    setup: &Setup,
    captured: &Captured,
    mount: Option<&Mount>,
    path_info: &[u8],
) -> Option<String> {
    let (script_name, got, rule) = ask(setup, &captured.sent, mount);
    let is_right = script_name == prefix(&setup.mount).as_bytes()
        && got == path_info
        && rule != PathRule::OutsideMount;
    (!is_right).then(|| {
        let text = String::from_utf8_lossy;
        format!(
            "{}\n    {:?} + {:?} by {rule:?}, and not {:?} + {:?}",
            captured.place,
            text(&script_name),
            text(&got),
            prefix(&setup.mount),
            text(path_info)
        )
    })
}

#[test]
fn without_a_mount_the_path_is_right_wherever_the_variables_tell() {
    let mut wrong = Vec::new();
    for setup in setups() {
        let mut undecided = 0;
        for captured in &setup.requests {
            match &captured.verdict {
                Verdict::Always(path_info) => {
                    wrong.extend(fault(&setup, captured, None, path_info))
                }
                Verdict::WithMount(path_info) => {
                    undecided += usize::from(fault(&setup, captured, None, path_info).is_some());
                }
                Verdict::OutsideMount | Verdict::Lost => {}
            }
        }
        assert!(
            undecided > 0 || !setup.needs_mount,
            "{} does not need --mount any more: say so in its file and in the documentation",
            setup.name
        );
    }
    assert!(
        wrong.is_empty(),
        "{}\n{} wrong",
        wrong.join("\n"),
        wrong.len()
    );
}

#[test]
fn with_a_mount_the_path_is_right_on_every_server() {
    let mut wrong = Vec::new();
    for setup in setups() {
        let mount = Mount::parse(&setup.mount).unwrap();
        for captured in &setup.requests {
            match &captured.verdict {
                Verdict::Always(path_info) | Verdict::WithMount(path_info) => {
                    wrong.extend(fault(&setup, captured, Some(&mount), path_info));
                }
                Verdict::OutsideMount => {
                    let (.., rule) = ask(&setup, &captured.sent, Some(&mount));
                    if rule != PathRule::OutsideMount {
                        wrong.push(format!("{}\n    is outside the mount", captured.place));
                    }
                }
                Verdict::Lost => {}
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n{} wrong",
        wrong.join("\n"),
        wrong.len()
    );
}
