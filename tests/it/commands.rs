//! The command line: exit codes, and what is printed where.

mod logs;
mod secrets;
mod send;
mod worker_check;

use std::{fs, net::TcpListener};

use crate::support::{
    process::{Ended, Serving, run},
    real::{Folder, NatsServer, get, post},
};

/// A configuration that needs no file, on ports of the system's choice.
const LEAST: &str = "
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
connectors:
  c: {protocol: entra, step: before-create, auth: none}
";

/// Writes a file of a test's own and returns its name.
fn written(folder: &Folder, name: &str, text: &str) -> String {
    let path = folder.0.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A command that did not do its work: what went wrong is on standard error and nothing else.
fn assert_failed(ended: &Ended, code: i32, about: &str) {
    assert_eq!((ended.code, &*ended.out), (Some(code), ""), "{about}: {}", ended.err);
    assert!(ended.err.starts_with("connector-bridge: "), "{about}: {}", ended.err);
    assert!(ended.err.contains(about), "{about} is not in: {}", ended.err);
    assert!(!ended.err.contains("panic"), "{about}: {}", ended.err);
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_64_and_says_what_is_wrong() {
    const URL: &str = "http://127.0.0.1:1/connectors/c";
    const HTTPS_URL: &str = "https://127.0.0.1:1/connectors/c";
    let rows: &[(&[&str], &str)] = &[
        (&[], "no command given"),
        (&["server"], r#"unknown command "server""#),
        (&["--verbose"], "--verbose"),
        (&["-x"], "-x"),
        (&["serve"], "--config FILE is missing"),
        (&["serve", "--config"], "--config"),
        (&["serve", "--port", "1"], "--port"),
        (&["serve", "bridge.yaml"], "bridge.yaml"),
        (&["check"], "--config FILE is missing"),
        (&["check", "--files"], "--config FILE is missing"),
        (&["check", "--config", "x", "--file"], "--file"),
        (&["check", "--config", "x", "--files=yes"], "--files"),
        (&["demo", "once"], "once"),
        (&["demo", "--nats-server"], "--nats-server"),
        (&["schema", "worker"], r#"no schema "worker""#),
        (&["send"], "the URL is missing"),
        (&["send", URL, URL], URL),
        (&["send", "127.0.0.1:8080"], "127.0.0.1:8080"),
        (&["send", "ftp://127.0.0.1/connectors/c"], "ftp://127.0.0.1/connectors/c"),
        (&["send", URL, "--protocol", "saml"], r#"unknown protocol "saml""#),
        (&["send", URL, "--step", "custom"], r#""custom" is no step of entra"#),
        (&["send", URL, "--protocol", "b2c-policy"], r#""before-create" is no step of b2c-policy"#),
        (&["send", URL, "--user", "entra"], "--user and --password-file go together"),
        (&["send", URL, "--password-file", "x"], "--user and --password-file go together"),
        (&["send", URL, "--claims", "/does/not/exist"], "/does/not/exist"),
        (&["send", URL, "--api-key-file", "/does/not/exist"], "/does/not/exist"),
        (&["send", URL, "--ca", "x"], "--cert, --key and --ca go with https"),
        (&["send", HTTPS_URL, "--cert", "x"], "--cert and --key go together"),
        (&["send", HTTPS_URL, "--ca", "/does/not/exist"], "/does/not/exist"),
        (&["send", HTTPS_URL, "--ca", file!()], "commands.rs: holds no certificate"),
        (&["worker-check"], "the subject is missing"),
        (&["worker-check", "a.*"], r#""a.*" is not a subject that can be published to"#),
        (&["worker-check", "a", "b"], "b"),
        (&["worker-check", "a", "--server", "http://x"], "--server: "),
        (&["worker-check", "a", "--server", "nats://me:s3cret@x"], "--server: holds credentials"),
        (&["worker-check", "a", "--protocol", "saml"], r#"--protocol: "saml" is none of entra"#),
        (&["worker-check", "a", "--step", "custom"], r#"--step: "custom" is no step of entra"#),
        (&["worker-check", "a", "--connector", "a.b"], r#""a.b" is not a connector name"#),
        (&["worker-check", "a", "--deadline", "20s"], "--deadline: 20s is outside 50ms to 19s"),
        (&["worker-check", "a", "--burst", "10001"], "--burst: "),
        (&["worker-check", "a", "--wait", "5"], "--wait: "),
        (&["worker-check", "a", "--format", "yaml"], "--format: "),
        (&["worker-check", "a", "--effects", "a..b"], "--effects: "),
        (&["worker-check", "a", "--user", "x"], "--user and --password-file go together"),
        (&["worker-check", "a", "--cert", "x"], "--cert and --key go together"),
        (
            &["worker-check", "a", "--ca", "/does/not/exist"],
            "--ca: /does/not/exist: cannot be read",
        ),
        (&["worker-check", "a", "--token-file", "/does/not/exist"], "--token-file: "),
        (&["worker-check", "a", "--token-file", "x", "--nkey-file", "y"], "more than one of"),
        (&["worker-check", "a", "--claims", "/does/not/exist"], "/does/not/exist"),
        (&["worker-check", "a", "--claims", file!()], "the claims are not JSON"),
    ];
    for (arguments, about) in rows {
        let ended = run(arguments).await;
        assert_failed(&ended, 64, about);
        assert!(ended.err.ends_with("Try connector-bridge --help.\n"), "{}", ended.err);
    }
}

#[tokio::test]
async fn help_and_version_are_printed() {
    for option in ["--help", "-h"] {
        let ended = run(&[option]).await;
        assert_eq!((ended.code, &*ended.err), (Some(0), ""));
        for word in
            ["serve", "check", "send", "worker-check", "demo", "schema", "64", "69", "70", "78"]
        {
            assert!(ended.out.contains(word), "{word} is not in {}", ended.out);
        }
    }
    for option in ["--version", "-V"] {
        let ended = run(&[option]).await;
        assert_eq!((ended.code, &*ended.err), (Some(0), ""));
        let version = concat!("connector-bridge ", env!("CARGO_PKG_VERSION"), " ");
        assert!(ended.out.starts_with(version), "{}", ended.out);
    }
}

#[tokio::test]
async fn all_faults_of_a_configuration_end_with_78_before_a_port_is_opened() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = Folder::new();
    let text = format!(
        "listen: {}\nread_timeout: 5\nmax_bdoy: 1KiB\n\
         nats: {{servers: [\"nats://user:canary-password@host:4222\"]}}\n\
         connectors:\n  c: {{protocol: entra, step: custom, deadline: 1h}}\n",
        taken.local_addr().unwrap()
    );
    let file = written(&folder, "bad.yaml", &text);
    for command in ["serve", "check"] {
        let ended = run(&[command, "--config", &file]).await;
        for about in [
            &*file,
            "\n  read_timeout: ",
            "\n  max_bdoy: ",
            "\n  nats.servers[0]: ",
            "\n  connectors.c.step: ",
            "\n  connectors.c.deadline: ",
            "\n  connectors.c.auth: ",
        ] {
            assert_failed(&ended, 78, about);
        }
        assert!(!ended.err.contains("canary-password"), "{}", ended.err);
    }
    let missing = folder.0.join("missing.yaml");
    for (file, text) in [(missing.to_str().unwrap(), "cannot be read"), (&*file, "faults")] {
        assert_failed(&run(&["check", "--config", file]).await, 78, text);
        assert_failed(&run(&["serve", "--config", file]).await, 78, text);
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_ends_with_78_except_where_only_the_text_is_checked() {
    let folder = Folder::new();
    let password = folder.0.join("password");
    let auth = format!("auth: {{basic: [{{username: entra, password_file: {password:?}}}]}}");
    let file = written(&folder, "bridge.yaml", &LEAST.replace("auth: none", &auth));
    let path = "connectors.c.auth.basic[0].password_file";
    for (content, about) in
        [(None, "cannot be read"), (Some(""), "is empty"), (Some("\n"), "is empty")]
    {
        if let Some(content) = content {
            fs::write(&password, content).unwrap();
        }
        for arguments in
            [&["serve", "--config", &file][..], &["check", "--files", "--config", &file]]
        {
            let ended = run(arguments).await;
            assert_failed(&ended, 78, path);
            assert_failed(&ended, 78, about);
        }
        assert_eq!(run(&["check", "--config", &file]).await.code, Some(0));
    }
    fs::write(&password, "canary-password").unwrap();
    let ended = run(&["check", "--files", "--config", &file]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(!format!("{ended:?}").contains("canary-password"), "{ended:?}");
}

#[tokio::test]
async fn an_address_that_is_taken_ends_with_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = Folder::new();
    for key in ["listen", "admin_listen"] {
        let text = LEAST.replace(&format!("\n{key}: 127.0.0.1:0"), &format!("\n{key}: {address}"));
        let file = written(&folder, "bridge.yaml", &text);
        let ended = run(&["serve", "--config", &file]).await;
        assert_eq!((ended.code, &*ended.out), (Some(69), ""), "{}", ended.err);
        let last = ended.err.lines().last().unwrap();
        let wanted = format!("connector-bridge: {key}: cannot listen on {address}: ");
        assert!(last.starts_with(&wanted), "{last}");
    }
}

#[tokio::test]
async fn check_prints_a_configuration_that_passes_check_and_warns_on_standard_error() {
    let folder = Folder::new();
    let text = r#"
log: {level: debug, format: text}
nats: {servers: [nats://a:4222, nats://b:4222], token_file: /secrets/token}
connectors:
  a: {protocol: b2c-policy, step: custom, auth: none}
  b:
    protocol: entra
    step: after-federation
    auth: {basic: [{username: entra, password_file: /secrets/password}]}
    claims: {require: [email], return: [tier]}
    fallback: {default: continue, message: "Später: \"bald\" 😀", cached: {by: [email]}}
"#;
    let first = run(&["check", "--config", &written(&folder, "first.yaml", text)]).await;
    assert_eq!(first.code, Some(0), "{}", first.err);
    for line in ["read_timeout: \"5s\"", "max_body: \"64KiB\"", "    deadline: \"15s\"", "Später"]
    {
        assert!(first.out.contains(line), "{line} is not in\n{}", first.out);
    }
    for warning in ["calls.hash_key_file", "connectors.a.auth", "connectors.b.fallback.default"] {
        assert!(first.err.contains(&format!("warning: {warning}: ")), "{}", first.err);
        assert!(!first.out.contains("warning"), "{}", first.out);
    }
    let again = run(&["check", "--config", &written(&folder, "again.yaml", &first.out)]).await;
    assert_eq!((again.code, again.out, again.err), (Some(0), first.out, first.err));
}

#[tokio::test]
async fn demo_without_a_nats_server_ends_with_69_and_says_how_to_name_one() {
    let ended = run(&["demo", "--once", "--nats-server", "/does/not/exist"]).await;
    assert_failed(&ended, 69, "/does/not/exist");
    assert_failed(&ended, 69, "--nats-server");
    // One that ends instead of listening.
    let ended = run(&["demo", "--once", "--nats-server", env!("CARGO_BIN_EXE_connector-bridge")]);
    assert_failed(&ended.await, 69, "ended at once");
}

#[tokio::test]
async fn serve_is_ready_and_answers_while_nats_cannot_be_reached() {
    let nowhere = NatsServer::later().await;
    let connectors = "  c: {protocol: entra, step: before-create, grace: 50ms, auth: none}\n";
    let serving = Serving::start(&nowhere, "drain_delay: 0s", connectors).await;
    assert_eq!(get(serving.admin_port, "/readyz").await.status, 200);
    let answer = post(serving.port, "c", "{}").await;
    assert_eq!((answer.status, answer.source()), (200, "default"));
    serving.program.signal("TERM");
    let ended = serving.program.ended().await;
    assert_eq!((ended.code, &*ended.out), (Some(0), ""), "{}", ended.err);
    assert!(ended.err.contains(r#""reason":"disconnected""#), "{}", ended.err);
}
