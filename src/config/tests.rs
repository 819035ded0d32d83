use super::*;
use crate::domain::fallback::DefaultAnswer;

const LEAST: &str = "
connectors:
  approve:
    protocol: entra
    step: before-create
    auth: none
";

fn faults(text: &str) -> Vec<String> {
    match Config::parse(text) {
        Ok(_) => Vec::new(),
        Err(ConfigError(faults)) => faults.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn what_is_left_out_has_the_documented_value() {
    let config = Config::parse(LEAST).unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.admin_listen.to_string(), "0.0.0.0:9090");
    assert_eq!((config.max_body, config.max_connections), (65_536, 4_096));
    assert_eq!(config.memory_limit, None, "the control group's");
    let seconds =
        [config.read_timeout, config.drain_delay, config.shutdown_grace].map(|d| d.as_secs());
    assert_eq!(seconds, [5, 5, 25]);
    assert_eq!(config.nats.servers, ["nats://127.0.0.1:4222"]);
    assert_eq!(config.nats.inbox_prefix, "_INBOX_connector_bridge");
    assert_eq!((config.calls.replay_window.as_secs(), config.calls.max_entries), (45, 100_000));
    let [settings] = &config.connectors[..] else { panic!("one connector") };
    let connector = &settings.connector;
    assert_eq!(connector.subject.as_str(), "connectors.approve.before-create");
    let patience = &connector.patience;
    assert_eq!((connector.deadline.as_secs(), patience.grace.as_millis()), (15, 500));
    assert_eq!(patience.reconnect_grace.as_secs(), 10);
    assert_eq!((connector.max_in_flight, connector.breaker.failures), (1_024, 5));
    assert_eq!(connector.breaker.open_for.as_secs(), 10);
    assert_eq!(connector.fallback.default, DefaultAnswer::Block);
    let message = "We could not check your request. Please try again in a few minutes.";
    assert_eq!(connector.fallback.messages.pick(None).as_str(), message);
    assert!(connector.fallback.cached.is_none() && connector.claims.returned.is_none());
}

#[test]
fn every_fault_is_reported_at_once_with_its_path_and_line() {
    let text = r#"
listen: everywhere
max_bdoy: 1KiB
read_timeout: 5
log: {level: loud, colour: red}
nats:
  servers: ["nats://user:s3cret@host:4222", "http://x"]
  user: bridge
calls: {store: redis, max_entries: 0, encryption_key_files: [""]}
connectors:
  "bad name":
    protocol: entra
    step: before-token
    auth: none
  token:
    protocol: b2c
    step: before-token
    deadline: 4.5s
    subject: connectors.*
    auth:
      basic:
        - {username: "a:b"}
        - {password_file: ""}
      bearer: x
    fallback: {cached: {by: []}, messages: {"deutsch!": x}, message: " "}
  nothing:
"#;
    let faults = faults(text);
    let wanted = [
        r#"listen: "everywhere" is not an IP address with a port, as 0.0.0.0:8080 (line 2)"#,
        "max_bdoy: is not a known key (line 3)",
        r#"read_timeout: "5" is not a number with ms, s, m, h or d (line 4)"#,
        r#"log.level: "loud" is none of error, warn, info, debug, trace (line 5)"#,
        "log.colour: is not a known key (line 5)",
        "nats.servers[0]: holds credentials; name them by file (line 7)",
        r#"nats.servers[1]: "http://x" is not a URL as nats://host:4222 (line 7)"#,
        "nats.user: goes together with password_file (line 8)",
        r#"calls.store: "redis" is none of memory, jetstream (line 9)"#,
        "calls.encryption_key_files[0]: is empty (line 9)",
        "calls.max_entries: 0 is outside 1 to 10000000 (line 9)",
        "connectors.bad name: the name of a connector is 1 to 64 of A-Z, a-z, 0-9, _ and - (line 11)",
        r#"connectors.bad name.step: "before-token" is no step of entra; it has after-federation, before-create (line 13)"#,
        "connectors.token.deadline: 4.5s is outside 50ms to 4s; the caller of b2c stops waiting after 5s (line 18)",
        r#"connectors.token.subject: "connectors.*" is not a subject that can be published to (line 19)"#,
        "connectors.token.auth.basic[0].username: a user name cannot hold a colon (RFC 7617) (line 22)",
        "connectors.token.auth.basic[0].password_file: must be written (line 22)",
        "connectors.token.auth.basic[1].username: must be written (line 23)",
        "connectors.token.auth.basic[1].password_file: is empty (line 23)",
        "connectors.token.auth.bearer: is not a known key (line 24)",
        "connectors.token.fallback.default: must be written here: the step has no block page (line 25)",
        "connectors.token.fallback.message: is blank (line 25)",
        "connectors.token.fallback.messages.deutsch!: is not a language tag as de or pt-BR (line 25)",
        "connectors.token.fallback.cached.by: must name at least one claim (line 25)",
        "connectors.nothing: must be a mapping of keys to values (line 26)",
    ];
    for fault in wanted {
        assert!(faults.iter().any(|found| found == fault), "{fault}\nnot in\n{faults:#?}");
    }
    assert_eq!(faults.len(), wanted.len(), "{faults:#?}");
    assert!(!faults.concat().contains("s3cret"));
}

#[test]
fn text_that_is_no_configuration_is_one_clear_fault() {
    for (text, fault) in [
        ("", "the configuration is empty"),
        ("- a", "must be a mapping of keys to values (line 1)"),
        ("{}", "connectors: there must be at least one connector (line 1)"),
        ("connectors: {}", "connectors: there must be at least one connector (line 1)"),
        ("a: 1\n---\nb: 1", "there is more than one document"),
    ] {
        assert_eq!(faults(text), [fault], "{text:?}");
    }
    for deep in ["- ".repeat(20_000), "? ".repeat(20_000)] {
        assert_eq!(faults(&deep), ["is nested too deeply (line 1)"]);
    }
    let twice = faults("listen: a\nmax_body: 1KiB\nlisten: b");
    assert!(
        twice.concat().contains("duplicated key") && twice.concat().contains("line 3"),
        "{twice:?}"
    );
    for text in ["a: [", "\tx: 1", "listen: a\nlisten: b", "a: &x [*x]"] {
        assert!(!faults(text).is_empty(), "{text:?}");
    }
}

#[test]
fn websockets_to_nats_are_refused_by_name() {
    for scheme in ["ws", "wss"] {
        let faults = faults(&format!("{LEAST}nats: {{servers: [{scheme}://x]}}\n"));
        let wanted = format!("{scheme} is not supported");
        assert!(faults.iter().any(|fault| fault.contains(&wanted)), "{scheme}: {faults:?}");
    }
}

#[test]
fn the_effective_configuration_reads_back_as_itself() {
    let text = r#"
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
playground_listen: "[::1]:8081"
memory_limit: 64MiB
log: {level: debug, format: text}
nats: {servers: [nats://a:4222, nats://b:4222], user: bridge, password_file: /secrets/nats, tls: {ca_file: /nats/ca, cert_file: /nats/crt, key_file: /nats/key}}
traces: {trust_incoming: true}
trusted_proxies: [10.0.0.0/8, "::1"]
forwarded_certificate_header: SSL-Client-Cert
tls: {cert_file: /tls/crt, key_file: /tls/key, client_ca_file: /tls/ca}
calls: {store: jetstream, create: false, encryption_key_files: [/secrets/new, /secrets/old], replay_window: 1m, hash_key_file: /secrets/hash}
events: {subject: audit.sign-ups, claims: [email, extension_Tier]}
connectors:
  token:
    protocol: b2c
    step: before-token
    deadline: 2500ms
    auth:
      basic: [{username: "b2c", password_file: /secrets/p}]
      api_key_files: [/secrets/k]
      client_certificates: [{sha256: "9F:86:D0:81:88:4C:7D:65:9A:2F:EA:A0:C5:5A:D0:15:A3:BF:4F:1B:2B:0B:82:2C:D1:5D:6C:15:B0:F0:0A:08"}, {subject: 'CN=a, O=Contoso\, Ltd.'}]
    claims: {require: [email], return: [tier, "extension_x"], require_message: 'Say "please"'}
    fallback:
      default: refuse
      cached: {by: [email], max_age: 1h, max_entries: 5, shared: true}
      messages: {de: "Später", pt-BR: "Mais tarde"}
"#;
    let config = Config::parse(text).unwrap();
    let effective = config.effective();
    let again = Config::parse(&effective).unwrap_or_else(|error| panic!("{error}\n{effective}"));
    assert_eq!(again.effective(), effective);
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
}

#[test]
fn what_is_unsafe_is_warned_about() {
    let text = r#"
shutdown_grace: 10s
calls: {store: jetstream}
events: {subject: connectors.decided, claims: [email]}
connectors:
  a:
    protocol: b2c-policy
    step: custom
    auth: none
    fallback: {default: continue, cached: {by: [email]}}
"#;
    let warnings = Config::parse(text).unwrap().warnings().join("\n");
    for what in [
        "shutdown_grace",
        "calls.hash_key_file",
        "calls.encryption_key_files",
        "events.claims: personal data",
        "events.subject: a worker",
        "connectors.a.auth: none",
        "connectors.a.fallback.default: continue",
        "connectors.a.fallback.cached.by",
        "connectors.a.identify_by",
    ] {
        assert!(warnings.contains(what), "{what} is not in\n{warnings}");
    }
    let forwarded = "auth: {client_certificates: [{subject: CN=a}]}";
    let forwarded = format!("{}trusted_proxies: [::1]", LEAST.replace("auth: none", forwarded));
    let warnings = Config::parse(&forwarded).unwrap().warnings().join("\n");
    assert!(warnings.contains("connectors.approve.auth.client_certificates: "), "{warnings}");
    let everyone = format!("{LEAST}trusted_proxies: [10.0.0.0/8, \"::/0\"]");
    let warnings = Config::parse(&everyone).unwrap().warnings().join("\n");
    assert!(warnings.contains("trusted_proxies: everyone"), "{warnings}");
    let played = format!("{LEAST}playground_listen: 127.0.0.1:8081");
    let warnings = Config::parse(&played).unwrap().warnings().join("\n");
    assert!(warnings.contains("playground_listen: whoever"), "{warnings}");
    let safe = LEAST.replace("auth: none", "auth: {basic: [{username: a, password_file: b}]}");
    let safe = format!("{safe}calls: {{hash_key_file: x}}\nevents: {{}}\n");
    assert_eq!(Config::parse(&safe).unwrap().warnings(), Vec::<String>::new());
}

#[test]
fn what_would_only_fail_later_is_a_fault_now() {
    for (row, fault) in [
        ("memory_limit: 23MiB", "memory_limit: 23MiB is outside 24MiB to 1048576MiB"),
        ("nats: {servers: []}", "nats.servers: must name at least one server"),
        ("admin_listen: 0.0.0.0:8080", "admin_listen: is the same address as listen"),
        (
            "playground_listen: 0.0.0.0:8081",
            "playground_listen: \"0.0.0.0:8081\" is neither at 127.0.0.1 nor at [::1]",
        ),
        ("playground_listen: 127.0.0.2:8081", "\"127.0.0.2:8081\" is neither at 127.0.0.1"),
        ("playground_listen: localhost:8081", "playground_listen: \"localhost:8081\" is not an IP"),
        ("admin_listen: 127.0.0.1:1\nplayground_listen: 127.0.0.1:1", "is the same address as"),
        ("nats: {token_file: a, nkey_file: b}", "nats: has more than one of"),
        ("nats: {tls: {key_file: a}}", "nats.tls.cert_file: goes together with key_file"),
        ("tls: {cert_file: a}", "tls.key_file: must be written"),
        ("trusted_proxies: [a]", "trusted_proxies[0]: \"a\" is not a network"),
        (
            "events: {subject: connectors.approve.before-create}",
            "events.subject: is where the workers of connectors.approve listen",
        ),
        ("events: {subject: a.>}", "events.subject: \"a.>\" is not a subject"),
        ("events: {claims: [a, b, a]}", "events.claims: names \"a\" twice"),
    ] {
        let faults = faults(&format!("{LEAST}{row}\n")).join("\n");
        assert!(faults.contains(fault), "{faults}");
    }
    for (auth, fault) in [
        ("{client_certificates: [{subject: CN=a}]}", "client_certificates: callers cannot show"),
        (
            "{client_certificates: [{subject: 'C = US, CN = a'}]}",
            "client_certificates[0].subject: ",
        ),
        ("{client_certificates: [{}]}", "client_certificates[0]: must have one of"),
        ("{client_certificates: [{subject: a}]}", "client_certificates[0].subject: \"a\" is not"),
        ("{client_certificates: [{sha256: a}]}", "client_certificates[0].sha256: \"a\" is not"),
        ("{api_key_files: [a]}", "basic: there must be at least one user name"),
    ] {
        let faults = faults(&LEAST.replace("none", auth)).join("\n");
        assert!(faults.contains(&format!("connectors.approve.auth.{fault}")), "{faults}");
    }
    let half = LEAST.replace("none", "{client_certificates: [{subject: CN=a}]}");
    let half = faults(&format!("{half}tls: {{client_ca_file: a}}")).join("\n");
    assert!(half.contains("tls.cert_file: must be written"), "{half}");
    assert!(!half.contains("callers cannot show"), "{half}");
    let languages =
        LEAST.replace("auth: none", "auth: none\n    fallback: {messages: {de: a, DE: b}}");
    assert!(faults(&languages).join("\n").contains("messages.DE: stands twice"));
}
