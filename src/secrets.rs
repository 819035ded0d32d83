//! Secrets: always files, read at the start and again whenever they change.
//!
//! Whole contents are compared, not dates, so that swapped symbolic links (as Kubernetes swaps
//! them) and restored dates are noticed too. A broken new file keeps the old secret in force.

mod nats;

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, UNIX_EPOCH},
};

pub use self::nats::NatsIdentity;
use self::nats::Signer;
use crate::{
    clock,
    config::{AuthSettings, BasicSettings, Config, ConfigError, Fault, NatsAuth},
    domain::{
        call_id::HashKey,
        connector::ConnectorName,
        credentials::{AuthFault, BasicCredential, Credentials},
        seal::SealKeys,
    },
    metrics::Metrics,
};

/// How often files are looked at. Together with the slowest look this stays below the 5 s within
/// which a changed secret is in force.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The largest secret.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// The shortest secret that keys are made of.
const KEY_BYTES_MIN: usize = 32;

/// Why a secret cannot be used. Says nothing about what is in the file.
#[derive(Debug)]
struct SecretFault {
    file: PathBuf,
    what: String,
}

impl fmt::Display for SecretFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.what)
    }
}

/// The secret in `file`, without one trailing line break.
fn read(file: &Path) -> Result<Vec<u8>, SecretFault> {
    let fault = |what: String| SecretFault { file: file.to_owned(), what };
    let mut secret = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(SECRET_BYTES_MAX + 1).read_to_end(&mut secret))
        .map_err(|error| fault(reason(&error)))?;
    if secret.len() as u64 > SECRET_BYTES_MAX {
        return Err(fault(format!("is larger than {SECRET_BYTES_MAX} bytes")));
    }
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
    if secret.is_empty() { Err(fault("is empty".to_owned())) } else { Ok(secret) }
}

fn reason(error: &io::Error) -> String {
    format!("cannot be read: {}", error.kind())
}

/// Makes something of the contents of some files, in their order.
type Build<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, Unfit> + Send + Sync>;

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
    current: RwLock<(Vec<Vec<u8>>, Arc<T>)>,
}

impl<T> Live<T> {
    fn open(
        kind: &'static str,
        files: Vec<PathBuf>,
        build: impl Fn(&[Vec<u8>]) -> Result<T, Unfit> + Send + Sync + 'static,
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
        let value = build(&contents).map_err(|Unfit { at, what }| {
            let file = files.get(at).cloned().unwrap_or_default();
            vec![(at, SecretFault { file, what })]
        })?;
        let current = RwLock::new((contents, Arc::new(value)));
        Ok(Self { kind, files, build: Box::new(build), current })
    }

    /// What is in force now.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).1)
    }
}

/// A secret that can change while the bridge runs.
trait Reload: Send + Sync {
    fn kind(&self) -> &'static str;

    /// Looks at the files. Returns whether something new is in force.
    fn reload(&self) -> Result<bool, SecretFault>;
}

impl<T: Send + Sync> Reload for Live<T> {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn reload(&self) -> Result<bool, SecretFault> {
        let contents = self.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).0 == contents {
            return Ok(false);
        }
        let value = (self.build)(&contents).map_err(|Unfit { at, what }| {
            let file = self.files.get(at).cloned().unwrap_or_default();
            SecretFault { file, what }
        })?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (contents, Arc::new(value));
        Ok(true)
    }
}

/// Who may call one connector.
#[derive(Clone)]
pub enum Auth {
    /// Anyone.
    Anyone,
    /// Whoever knows one of the credentials.
    Basic(Arc<Live<Credentials>>),
}

impl Auth {
    /// Checks the values of all `Authorization` headers of a request.
    pub fn check<'a>(&self, headers: impl Iterator<Item = &'a [u8]>) -> Result<(), AuthFault> {
        match self {
            Auth::Anyone => Ok(()),
            Auth::Basic(credentials) => credentials.get().check(headers),
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
    /// How the bridge shows itself to NATS.
    pub nats: NatsIdentity,
    reloads: Vec<Arc<dyn Reload>>,
}

impl Secrets {
    /// Reads all files that `config` names. Reports every fault at once, by the path of its key.
    pub fn open(config: &Config) -> Result<Self, ConfigError> {
        let mut opening = Opening { faults: Vec::new(), reloads: Vec::new() };
        let hash_key = opening.hash_key(config);
        let key = process_key();
        let mut auth = Vec::new();
        for settings in &config.connectors {
            let name = &settings.connector.name;
            let credentials = match &settings.auth {
                AuthSettings::None => Some(Auth::Anyone),
                AuthSettings::Basic(entries) => {
                    opening.basic(&format!("connectors.{name}.auth"), entries, key).map(Auth::Basic)
                }
            };
            auth.extend(credentials.map(|credentials| (name.clone(), credentials)));
        }
        let seal_keys = opening.seal_keys(config);
        let nats = opening.nats(&config.nats.auth);
        match (hash_key, seal_keys, nats, opening.faults.is_empty()) {
            (Some(hash_key), Some(seal_keys), Some(nats), true) => {
                Ok(Self { hash_key, seal_keys, auth, nats, reloads: opening.reloads })
            }
            (_, _, _, _) => Err(ConfigError(opening.faults)),
        }
    }

    /// Looks at all files again and again, forever.
    pub async fn keep(&self, metrics: Metrics) {
        for secret in &self.reloads {
            metrics.credentials_loaded(secret.kind(), unix_seconds());
        }
        let mut faulty = false;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let (secrets, metrics) = (self.reloads.clone(), metrics.clone());
            // Files may lie on a disk that hangs.
            let looked = tokio::task::spawn_blocking(move || look(&secrets, &metrics, faulty));
            faulty = looked.await.unwrap_or(true);
        }
    }
}

/// Looks at all files once. Returns whether one is faulty.
fn look(secrets: &[Arc<dyn Reload>], metrics: &Metrics, was_faulty: bool) -> bool {
    let mut faulty = false;
    for secret in secrets {
        let kind = secret.kind();
        match secret.reload() {
            Ok(false) => {}
            Ok(true) => {
                metrics.credentials_loaded(kind, unix_seconds());
                tracing::info!(kind, "took over a changed secret file");
            }
            Err(fault) => {
                if !was_faulty {
                    tracing::error!(kind, %fault, "a changed secret file is broken; the old one stays in force");
                }
                faulty = true;
            }
        }
    }
    metrics.last_reload_successful.set(i64::from(!faulty));
    faulty
}

fn unix_seconds() -> i64 {
    let since = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A key that only this process knows, from the randomness that the standard library asks the
/// operating system for.
fn process_key() -> [u8; 32] {
    use std::hash::{BuildHasher, RandomState};
    let mut hasher = blake3::Hasher::new_derive_key("connector-bridge 2026-11 process key");
    for round in 0..4_u64 {
        hasher.update(&RandomState::new().hash_one(round).to_be_bytes());
    }
    hasher.finalize().into()
}

struct Opening {
    faults: Vec<Fault>,
    reloads: Vec<Arc<dyn Reload>>,
}

impl Opening {
    fn open<T: Send + Sync + 'static>(
        &mut self,
        kind: &'static str,
        files: Vec<PathBuf>,
        key_of: impl Fn(usize) -> String,
        build: impl Fn(&[Vec<u8>]) -> Result<T, Unfit> + Send + Sync + 'static,
    ) -> Option<Arc<Live<T>>> {
        match Live::open(kind, files, build) {
            Ok(live) => {
                let live = Arc::new(live);
                if !live.files.is_empty() {
                    self.reloads.push(Arc::clone(&live) as Arc<dyn Reload>);
                }
                Some(live)
            }
            Err(faults) => {
                self.faults.extend(faults.into_iter().map(|(at, fault)| Fault {
                    path: key_of(at),
                    line: None,
                    what: fault.to_string(),
                }));
                None
            }
        }
    }

    fn hash_key(&mut self, config: &Config) -> Option<Arc<Live<HashKey>>> {
        let files = config.calls.hash_key_file.iter().cloned().collect();
        self.open(
            "hash_key",
            files,
            |_| "calls.hash_key_file".to_owned(),
            |secrets| match secrets.first() {
                None => Ok(HashKey::public()),
                Some(secret) if secret.len() >= KEY_BYTES_MIN => Ok(HashKey::from_secret(secret)),
                Some(_) => Err(format!("is shorter than {KEY_BYTES_MIN} bytes").into()),
            },
        )
    }

    fn seal_keys(&mut self, config: &Config) -> Option<Arc<Live<SealKeys>>> {
        let files = config.calls.encryption_key_files.clone();
        let key_of = |at| format!("calls.encryption_key_files[{at}]");
        self.open("encryption_key", files, key_of, |secrets| {
            match secrets.iter().position(|secret| secret.len() < KEY_BYTES_MIN) {
                Some(at) => {
                    Err(Unfit { at, what: format!("is shorter than {KEY_BYTES_MIN} bytes") })
                }
                None => Ok(SealKeys::from_secrets(secrets.iter().map(Vec::as_slice))),
            }
        })
    }

    fn basic(
        &mut self,
        path: &str,
        entries: &[BasicSettings],
        key: [u8; 32],
    ) -> Option<Arc<Live<Credentials>>> {
        let files = entries.iter().map(|entry| entry.password_file.clone()).collect();
        let usernames: Vec<String> = entries.iter().map(|entry| entry.username.clone()).collect();
        let key_of = |at| format!("{path}.basic[{at}].password_file");
        self.open("basic", files, key_of, move |passwords| {
            let credentials: Vec<BasicCredential> = usernames
                .iter()
                .zip(passwords)
                .map(|(username, password)| BasicCredential::new(username, password))
                .collect();
            Ok(Credentials::new(key, &credentials))
        })
    }

    fn nats(&mut self, auth: &NatsAuth) -> Option<NatsIdentity> {
        Some(match auth {
            NatsAuth::None => NatsIdentity::None,
            NatsAuth::CredentialsFile(file) => NatsIdentity::Nkey(self.nats_file(
                "credentials_file",
                file,
                Signer::from_credentials,
            )?),
            NatsAuth::NkeyFile(file) => {
                NatsIdentity::Nkey(self.nats_file("nkey_file", file, Signer::from_seed)?)
            }
            NatsAuth::UserAndPassword { user, password_file } => {
                let password = self.nats_file("password_file", password_file, text)?;
                NatsIdentity::UserAndPassword(user.clone(), password)
            }
            NatsAuth::TokenFile(file) => {
                NatsIdentity::Token(self.nats_file("token_file", file, text)?)
            }
        })
    }

    fn nats_file<T: Send + Sync + 'static>(
        &mut self,
        key: &'static str,
        file: &Path,
        read: impl Fn(&str) -> Result<T, String> + Send + Sync + 'static,
    ) -> Option<Arc<Live<T>>> {
        let build = move |secrets: &[Vec<u8>]| {
            let secret = secrets.first().map(Vec::as_slice).unwrap_or_default();
            let secret = std::str::from_utf8(secret).map_err(|_| "is not UTF-8".to_owned())?;
            read(secret).map_err(Unfit::from)
        };
        self.open("nats", vec![file.to_owned()], |_| format!("nats.{key}"), build)
    }
}

fn text(secret: &str) -> Result<String, String> {
    Ok(secret.to_owned())
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

    #[test]
    fn a_changed_file_is_taken_over_and_a_broken_one_keeps_the_old() {
        let folder = folder("reload");
        for (file, secret) in [("hash", &*"k".repeat(32)), ("old", "one\n"), ("new", "two\r\n")] {
            fs::write(folder.join(file), secret).unwrap();
        }
        let secrets = Secrets::open(&config(&folder)).unwrap();
        let [(_, auth)] = &secrets.auth[..] else { panic!("one connector") };
        let check = |password: &str| {
            let encoded = data_encoding::BASE64.encode(format!("u:{password}").as_bytes());
            auth.check([format!("Basic {encoded}").as_bytes()].into_iter()).is_ok()
        };
        assert!(check("one") && check("two") && !check("three"));

        let metrics = Metrics::new().unwrap();
        // As Kubernetes does it: another file takes the name.
        fs::write(folder.join("next"), "three").unwrap();
        fs::rename(folder.join("next"), folder.join("old")).unwrap();
        assert!(!look(&secrets.reloads, &metrics, false));
        assert!(!check("one") && check("two") && check("three"));

        fs::write(folder.join("old"), "").unwrap();
        assert!(look(&secrets.reloads, &metrics, false));
        assert!(check("three"), "the old secret stays in force");
        assert_eq!(metrics.last_reload_successful.get(), 0);
        fs::write(folder.join("old"), "four").unwrap();
        assert!(!look(&secrets.reloads, &metrics, true));
        assert!(check("four") && metrics.last_reload_successful.get() == 1);
        fs::remove_dir_all(folder).unwrap();
    }
}
