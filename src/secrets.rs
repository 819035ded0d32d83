//! Secrets: always files, read at the start and again whenever they change.
//!
//! Whole contents are compared, not dates, so that swapped symbolic links (as Kubernetes swaps
//! them) and restored dates are noticed too. A broken new file keeps the old secret in force.

mod auth;
mod nats;
mod opening;

use std::{
    collections::BTreeSet,
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::io::Errno;
use zeroize::Zeroizing;

use self::opening::Opening;
pub use self::{
    auth::{Auth, Presented, Shown},
    nats::NatsIdentity,
};
use crate::{
    clock,
    config::{Config, ConfigError},
    domain::{call_id::HashKey, connector::ConnectorName, seal::SealKeys},
    metrics::{CertificateRole, Metrics},
    tls::{ClientAuthorities, ClientTls, ServerTls},
};

/// How often files are looked at. Together with the slowest look this stays below the 5 s within
/// which a changed secret is in force.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The largest secret.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// What is in a file. Its memory is cleared when it is no longer needed.
pub type Secret = Zeroizing<Vec<u8>>;

/// Why a secret cannot be used. Says nothing about what is in the file.
#[derive(Debug)]
pub(crate) struct SecretFault {
    file: PathBuf,
    what: String,
    of: Whose,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The file is missing, or what is in it is of no use.
    File,
    /// Nobody knows how the file is: no more files can be opened.
    Process,
}

impl fmt::Display for SecretFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.what)
    }
}

/// The secret in `file`, without one trailing line break.
pub(crate) fn read(file: &Path) -> Result<Secret, SecretFault> {
    let fault = |what: String| SecretFault { file: file.to_owned(), what, of: Whose::File };
    // Room for the largest, so that no copy is left behind where it grows.
    let mut secret = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX as usize + 1));
    File::open(file)
        .and_then(|opened| opened.take(SECRET_BYTES_MAX + 1).read_to_end(&mut secret))
        .map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::MFILE | Errno::NFILE) => SecretFault {
                of: Whose::Process,
                ..fault("cannot be opened: no file descriptor is left".to_owned())
            },
            Some(_) | None => fault(reason(&error)),
        })?;
    if secret.len() as u64 > SECRET_BYTES_MAX {
        return Err(fault(format!("is larger than {SECRET_BYTES_MAX} bytes")));
    }
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
    if secret.is_empty() {
        return Err(fault("is empty".to_owned()));
    }
    Ok(Zeroizing::new(secret.as_slice().to_vec()))
}

fn reason(error: &io::Error) -> String {
    format!("cannot be read: {}", error.kind())
}

/// Makes something of the contents of some files, in their order.
type Build<T> = Box<dyn Fn(&[Secret]) -> Result<T, Unfit> + Send + Sync>;

/// Which of the files holds something that cannot be used, and why.
struct Unfit {
    at: usize,
    what: String,
}

impl From<String> for Unfit {
    fn from(what: String) -> Self {
        Self { at: 0, what }
    }
}

/// What is made of the contents of some files; remade when they change.
pub struct Live<T> {
    kind: &'static str,
    files: Vec<PathBuf>,
    build: Build<T>,
    current: RwLock<(Vec<Secret>, Arc<T>)>,
}

impl<T> Live<T> {
    fn open(
        kind: &'static str,
        files: Vec<PathBuf>,
        build: impl Fn(&[Secret]) -> Result<T, Unfit> + Send + Sync + 'static,
    ) -> Result<Self, Vec<(usize, SecretFault)>> {
        let (mut contents, mut faults) = (Vec::new(), Vec::new());
        for (at, file) in files.iter().enumerate() {
            match read(file) {
                Ok(secret) => contents.push(secret),
                Err(fault) => faults.push((at, fault)),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let value = build(&contents).map_err(|unfit| vec![(unfit.at, fault_in(&files, unfit))])?;
        let current = RwLock::new((contents, Arc::new(value)));
        Ok(Self { kind, files, build: Box::new(build), current })
    }

    /// What never changes.
    #[cfg(test)]
    pub(crate) fn fixed(value: T) -> Self {
        let build: Build<T> = Box::new(|_| Err(Unfit::from(String::new())));
        let current = RwLock::new((Vec::new(), Arc::new(value)));
        Self { kind: "fixed", files: Vec::new(), build, current }
    }

    /// What is in force now.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// What the first file holds now.
    fn first(&self) -> Option<Secret> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).0.first().cloned()
    }
}

fn fault_in(files: &[PathBuf], Unfit { at, what }: Unfit) -> SecretFault {
    SecretFault { file: files.get(at).cloned().unwrap_or_default(), what, of: Whose::File }
}

/// What came of a look at some files.
struct Looked {
    /// Something new is in force.
    changed: bool,
    /// What is broken; of that, what was in force before still is.
    faults: Vec<SecretFault>,
}

/// A secret that can change while the bridge runs.
trait Reload: Send + Sync {
    fn kind(&self) -> &'static str;

    /// Looks at the files. One that cannot be read does not keep the others from being taken over.
    fn reload(&self) -> Looked;
}

impl<T: Send + Sync> Reload for Live<T> {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn reload(&self) -> Looked {
        let before = self.current.read().unwrap_or_else(PoisonError::into_inner).0.clone();
        let (mut contents, mut faults) = (Vec::with_capacity(before.len()), Vec::new());
        for (file, before) in self.files.iter().zip(&before) {
            contents.push(read(file).unwrap_or_else(|fault| {
                faults.push(fault);
                before.clone()
            }));
        }
        if contents == before {
            return Looked { changed: false, faults };
        }
        match (self.build)(&contents) {
            Ok(value) => {
                let current = (contents, Arc::new(value));
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
                Looked { changed: true, faults }
            }
            Err(unfit) => {
                faults.push(fault_in(&self.files, unfit));
                Looked { changed: false, faults }
            }
        }
    }
}

/// All secrets that a configuration names.
pub struct Secrets {
    /// The key of the hash behind call ids.
    pub hash_key: Arc<Live<HashKey>>,
    /// What seals records that replicas share.
    pub seal_keys: Arc<Live<SealKeys>>,
    /// Who may call, by connector.
    pub auth: Vec<(ConnectorName, Auth)>,
    /// What callers are shown, where the bridge itself serves HTTPS.
    pub server_tls: Option<Arc<Live<ServerTls>>>,
    /// The authorities of callers' certificates, where they are asked for.
    pub client_authorities: Option<Arc<Live<ClientAuthorities>>>,
    /// How the bridge shows itself to NATS.
    pub nats: NatsIdentity,
    /// TLS to NATS, where it is configured.
    pub nats_tls: Option<Arc<Live<ClientTls>>>,
    /// TLS to the collector of spans, where its URL says so.
    pub collector_tls: Option<Arc<Live<ClientTls>>>,
    reloads: Vec<Arc<dyn Reload>>,
}

impl Secrets {
    /// Reads all files that `config` names. Reports every fault at once, by the path of its key.
    pub fn open(config: &Config) -> Result<Self, ConfigError> {
        let mut opening = Opening::new(config)?;
        let hash_key = opening.hash_key();
        let auth = opening.auth();
        let seal_keys = opening.seal_keys();
        let server_tls = opening.server_tls();
        let client_authorities = opening.client_authorities();
        let nats = opening.nats();
        let nats_tls = opening.nats_tls();
        let collector_tls = opening.collector_tls();
        let Opening { faults, reloads, .. } = opening;
        match (hash_key, seal_keys, nats, faults.is_empty()) {
            (Some(hash_key), Some(seal_keys), Some(nats), true) => Ok(Self {
                hash_key,
                seal_keys,
                auth,
                server_tls,
                client_authorities,
                nats,
                nats_tls,
                collector_tls,
                reloads,
            }),
            (_, _, _, _) => Err(ConfigError(faults)),
        }
    }

    /// Looks at all files again and again, forever.
    pub async fn keep(&self, metrics: Metrics) {
        for secret in &self.reloads {
            metrics.credentials_loaded(secret.kind(), unix_seconds(clock::wall()));
        }
        let (mut known, mut ended) = (BTreeSet::new(), BTreeSet::new());
        loop {
            for (role, ends) in self.certificate_ends() {
                metrics.certificate_ends(role, unix_seconds(ends));
                if ends < clock::wall() && ended.insert((role, ends)) {
                    tracing::warn!(role = role.label(), "a certificate is out of date");
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let (secrets, metrics) = (self.reloads.clone(), metrics.clone());
            // Files may lie on a disk that hangs.
            let looked = tokio::task::spawn_blocking(move || look(&secrets, &metrics, &known));
            known = looked.await.unwrap_or_default();
        }
    }

    /// When the certificates end that the bridge has.
    fn certificate_ends(&self) -> impl Iterator<Item = (CertificateRole, SystemTime)> {
        let server = self.server_tls.as_ref().map(|tls| tls.get().ends);
        let client_ca = self.client_authorities.as_ref().map(|authorities| authorities.get().ends);
        let nats = self.nats_tls.as_ref().map(|tls| tls.get());
        [
            (CertificateRole::Server, server),
            (CertificateRole::ClientCa, client_ca),
            (CertificateRole::NatsCa, nats.as_ref().and_then(|tls| tls.authorities_end)),
            (CertificateRole::NatsClient, nats.as_ref().and_then(|tls| tls.own_ends)),
        ]
        .into_iter()
        .filter_map(|(role, ends)| Some((role, ends?)))
    }
}

/// Looks at all files once. Returns what is broken; what was `known` to be is not logged again.
fn look(
    secrets: &[Arc<dyn Reload>],
    metrics: &Metrics,
    known: &BTreeSet<String>,
) -> BTreeSet<String> {
    let mut broken = BTreeSet::new();
    for secret in secrets {
        let kind = secret.kind();
        let looked = secret.reload();
        if looked.changed {
            metrics.credentials_loaded(kind, unix_seconds(clock::wall()));
            tracing::info!(kind, "took over a changed secret file");
        }
        for fault in looked.faults {
            let (of, fault) = (fault.of, fault.to_string());
            match of {
                _ if known.contains(&fault) => {}
                Whose::File => tracing::error!(
                    kind,
                    fault,
                    "a changed secret file is broken; the old one stays in force"
                ),
                Whose::Process => tracing::error!(
                    kind,
                    fault,
                    "a secret file could not be looked at; what is known of it stays in force"
                ),
            }
            broken.insert(fault);
        }
    }
    metrics.last_reload_successful.set(i64::from(broken.is_empty()));
    broken
}

fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn config(folder: &Path) -> Config {
        let folder = folder.display();
        Config::parse(&format!(
            "calls: {{hash_key_file: {folder}/hash}}
connectors:
  a:
    protocol: entra
    step: before-create
    auth: {{basic: [{{username: u, password_file: {folder}/old}}, {{username: u, password_file: {folder}/new}}]}}
"
        ))
        .unwrap()
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cb-secrets-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn every_fault_of_every_file_is_reported_and_no_content_is_shown() {
        let folder = folder("faults");
        fs::write(folder.join("hash"), "s3cret").unwrap();
        fs::write(folder.join("new"), "\n").unwrap();
        let error = Secrets::open(&config(&folder)).err().unwrap().to_string();
        for what in [
            "calls.hash_key_file: ",
            "is shorter than 32 bytes",
            "connectors.a.auth.basic[0].password_file: ",
            "cannot be read: entity not found",
            "connectors.a.auth.basic[1].password_file: ",
            "is empty",
        ] {
            assert!(error.contains(what), "{what} is not in {error}");
        }
        assert!(!error.contains("s3cret"));
        fs::remove_dir_all(folder).unwrap();
    }

    /// Whether `password` is right now.
    fn is_right(secrets: &Secrets, password: &str) -> bool {
        let [(_, auth)] = &secrets.auth[..] else { panic!("one connector") };
        let encoded = data_encoding::BASE64.encode(format!("u:{password}").as_bytes());
        let header = format!("Basic {encoded}");
        let presented = Presented {
            authorization: [header.as_bytes()].into_iter(),
            query: None,
            certificate: || Ok(None),
            now: UNIX_EPOCH,
        };
        auth.check(presented).is_ok()
    }

    #[test]
    fn a_changed_file_is_taken_over_and_a_broken_one_keeps_the_old() {
        let folder = folder("reload");
        for (file, secret) in [("hash", &*"k".repeat(32)), ("old", "one\n"), ("new", "two\r\n")] {
            fs::write(folder.join(file), secret).unwrap();
        }
        let secrets = Secrets::open(&config(&folder)).unwrap();
        let check = |password: &str| is_right(&secrets, password);
        assert!(check("one") && check("two") && !check("three"));

        let (metrics, none) = (Metrics::new().unwrap(), BTreeSet::new());
        let look = || look(&secrets.reloads, &metrics, &none).len();
        // As Kubernetes does it: another file takes the name.
        fs::write(folder.join("next"), "three").unwrap();
        fs::rename(folder.join("next"), folder.join("old")).unwrap();
        assert_eq!(look(), 0);
        assert!(!check("one") && check("two") && check("three"));

        fs::write(folder.join("old"), "").unwrap();
        assert_eq!(look(), 1);
        assert!(check("three"), "the old secret stays in force");
        assert_eq!(metrics.last_reload_successful.get(), 0);
        fs::write(folder.join("new"), "five").unwrap();
        fs::write(folder.join("hash"), "short").unwrap();
        assert_eq!(look(), 2);
        assert!(check("three") && check("five"), "a broken file holds up no other");
        fs::write(folder.join("old"), "four").unwrap();
        fs::write(folder.join("hash"), "h".repeat(32)).unwrap();
        assert_eq!(look(), 0);
        assert!(check("four") && metrics.last_reload_successful.get() == 1);
        fs::remove_dir_all(folder).unwrap();
    }
}
