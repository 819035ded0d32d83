//! Reading all files that a configuration names, at the start.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::{Auth, Live, NatsIdentity, Reload, Secret, Unfit, nats::Signer};
use crate::{
    config::{
        AuthSettings, BasicSettings, ClientTlsSettings, Config, ConfigError, CredentialSettings,
        Fault, NatsAuth,
    },
    domain::{
        call_id::HashKey,
        connector::ConnectorName,
        credentials::{CompareKey, api_key::ApiKeys, basic::BasicCredentials},
        seal::SealKeys,
    },
    tls::{Asks, ClientAuthorities, ClientTls, Part, ServerTls, Unusable},
};

/// The shortest secret that keys are made of.
const KEY_BYTES_MIN: usize = 32;

/// Everything that is opened, and every fault on the way.
pub(super) struct Opening<'a> {
    config: &'a Config,
    compare_key: CompareKey,
    pub(super) faults: Vec<Fault>,
    /// What is to be looked at again.
    pub(super) reloads: Vec<Arc<dyn Reload>>,
}

impl<'a> Opening<'a> {
    pub(super) fn new(config: &'a Config) -> Result<Self, ConfigError> {
        let mut compare_key = CompareKey::default();
        SystemRandom::new().fill(&mut compare_key).map_err(|_| {
            let what = "the system gives no random numbers".to_owned();
            ConfigError(vec![Fault { path: String::new(), line: None, what }])
        })?;
        Ok(Self { config, compare_key, faults: Vec::new(), reloads: Vec::new() })
    }

    fn open<T: Send + Sync + 'static>(
        &mut self,
        kind: &'static str,
        files: Vec<PathBuf>,
        key_of: impl Fn(usize) -> String,
        build: impl Fn(&[Secret]) -> Result<T, Unfit> + Send + Sync + 'static,
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

    pub(super) fn hash_key(&mut self) -> Option<Arc<Live<HashKey>>> {
        let files = self.config.calls.hash_key_file.iter().cloned().collect();
        self.open(
            "hash_key",
            files,
            |_| "calls.hash_key_file".to_owned(),
            |secrets| match secrets.first() {
                None => Ok(HashKey::public()),
                Some(secret) if secret.len() >= KEY_BYTES_MIN => Ok(HashKey::from_secret(secret)),
                Some(_) => Err(too_short(0)),
            },
        )
    }

    pub(super) fn seal_keys(&mut self) -> Option<Arc<Live<SealKeys>>> {
        let files = self.config.calls.encryption_key_files.clone();
        let key_of = |at| format!("calls.encryption_key_files[{at}]");
        self.open("encryption_key", files, key_of, |secrets| {
            match secrets.iter().position(|secret| secret.len() < KEY_BYTES_MIN) {
                Some(at) => Err(too_short(at)),
                None => Ok(SealKeys::from_secrets(slices(secrets))),
            }
        })
    }

    /// Who may call each connector; without those whose files have a fault.
    pub(super) fn auth(&mut self) -> Vec<(ConnectorName, Auth)> {
        let mut all = Vec::new();
        for settings in &self.config.connectors {
            let name = &settings.connector.name;
            let auth = match &settings.auth {
                AuthSettings::None => Auth::Anyone,
                AuthSettings::Credentials(credentials) => self.credentials(name, credentials),
            };
            all.push((name.clone(), auth));
        }
        all
    }

    fn credentials(&mut self, name: &ConnectorName, settings: &CredentialSettings) -> Auth {
        let CredentialSettings { basic, api_key_files, client_certificates } = settings;
        let path = format!("connectors.{name}.auth");
        Auth::Credentials {
            basic: (!basic.is_empty()).then(|| self.basic(&path, basic)).flatten(),
            certificates: (!client_certificates.is_empty())
                .then(|| client_certificates.as_slice().into()),
            api_keys: (!api_key_files.is_empty())
                .then(|| self.api_keys(&path, api_key_files))
                .flatten(),
        }
    }

    fn basic(
        &mut self,
        path: &str,
        entries: &[BasicSettings],
    ) -> Option<Arc<Live<BasicCredentials>>> {
        let files = entries.iter().map(|entry| entry.password_file.clone()).collect();
        let usernames: Vec<String> = entries.iter().map(|entry| entry.username.clone()).collect();
        let key_of = |at| format!("{path}.basic[{at}].password_file");
        let key = self.compare_key;
        self.open("basic", files, key_of, move |passwords| {
            let usernames = usernames.iter().map(String::as_str);
            Ok(BasicCredentials::new(key, usernames.zip(slices(passwords))))
        })
    }

    fn api_keys(&mut self, path: &str, files: &[PathBuf]) -> Option<Arc<Live<ApiKeys>>> {
        let key_of = |at| format!("{path}.api_key_files[{at}]");
        let key = self.compare_key;
        self.open("api_key", files.to_vec(), key_of, move |keys| {
            Ok(ApiKeys::new(key, slices(keys)))
        })
    }

    pub(super) fn server_tls(&mut self) -> Option<Arc<Live<ServerTls>>> {
        let tls = self.config.tls.as_ref()?;
        let asks = match tls.client_ca_file {
            Some(_) => Asks::ForCertificates,
            None => Asks::ForNothing,
        };
        let files = vec![
            (Part::Chain, "tls.cert_file", tls.cert_file.clone()),
            (Part::Key, "tls.key_file", tls.key_file.clone()),
        ];
        self.open_tls("tls", files, move |parts| {
            let (chain, key) = (parts.get(Part::Chain), parts.get(Part::Key));
            ServerTls::from_pem(chain, key, asks)
        })
    }

    pub(super) fn client_authorities(&mut self) -> Option<Arc<Live<ClientAuthorities>>> {
        let file = self.config.tls.as_ref()?.client_ca_file.clone()?;
        let files = vec![(Part::Authorities, "tls.client_ca_file", file)];
        self.open_tls("client_ca", files, |parts| {
            ClientAuthorities::from_pem(parts.get(Part::Authorities))
        })
    }

    pub(super) fn nats_tls(&mut self) -> Option<Arc<Live<ClientTls>>> {
        let settings = self.config.nats.tls.clone()?;
        let keys = ["nats.tls.ca_file", "nats.tls.cert_file", "nats.tls.key_file"];
        self.client_tls("nats_tls", keys, settings)
    }

    pub(super) fn collector_tls(&mut self) -> Option<Arc<Live<ClientTls>>> {
        let settings = self.config.traces.as_ref()?.tls.clone()?;
        let keys = [
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        ];
        self.client_tls("collector_tls", keys, settings)
    }

    /// The keys of the authorities, the own chain and its private key.
    fn client_tls(
        &mut self,
        kind: &'static str,
        [ca_key, chain_key, key_key]: [&'static str; 3],
        ClientTlsSettings { ca_file, own }: ClientTlsSettings,
    ) -> Option<Arc<Live<ClientTls>>> {
        let (has_authorities, is_shown) = (ca_file.is_some(), own.is_some());
        let mut files: Vec<_> =
            ca_file.into_iter().map(|file| (Part::Authorities, ca_key, file)).collect();
        if let Some((chain, key)) = own {
            files.push((Part::Chain, chain_key, chain));
            files.push((Part::Key, key_key, key));
        }
        self.open_tls(kind, files, move |parts| {
            ClientTls::from_pem(
                has_authorities.then(|| parts.get(Part::Authorities)),
                is_shown.then(|| (parts.get(Part::Chain), parts.get(Part::Key))),
            )
        })
    }

    /// Something made of files that are parts of what TLS takes, each with its key.
    fn open_tls<T: Send + Sync + 'static>(
        &mut self,
        kind: &'static str,
        files: Vec<(Part, &'static str, PathBuf)>,
        build: impl Fn(Parts<'_>) -> Result<T, Unusable> + Send + Sync + 'static,
    ) -> Option<Arc<Live<T>>> {
        let order: Vec<Part> = files.iter().map(|(part, _, _)| *part).collect();
        let keys: Vec<&str> = files.iter().map(|(_, key, _)| *key).collect();
        let files = files.into_iter().map(|(_, _, file)| file).collect();
        let key_of = |at: usize| keys.get(at).copied().unwrap_or_default().to_owned();
        self.open(kind, files, key_of, move |secrets| {
            let parts = Parts { order: &order, secrets };
            build(parts).map_err(|Unusable { part, what }| Unfit {
                at: parts.at(part).unwrap_or_default(),
                what: what.to_owned(),
            })
        })
    }

    pub(super) fn nats(&mut self) -> Option<NatsIdentity> {
        Some(match &self.config.nats.auth {
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
        let build = move |secrets: &[Secret]| {
            let secret = secrets.first().map(|secret| secret.as_slice()).unwrap_or_default();
            let secret = std::str::from_utf8(secret).map_err(|_| "is not UTF-8".to_owned())?;
            read(secret).map_err(Unfit::from)
        };
        self.open("nats", vec![file.to_owned()], |_| format!("nats.{key}"), build)
    }
}

/// The contents of files that are parts of what TLS takes.
#[derive(Clone, Copy)]
struct Parts<'a> {
    order: &'a [Part],
    secrets: &'a [Secret],
}

impl<'a> Parts<'a> {
    fn at(&self, wanted: Part) -> Option<usize> {
        self.order.iter().position(|part| *part == wanted)
    }

    fn get(&self, wanted: Part) -> &'a [u8] {
        let secret = self.at(wanted).and_then(|at| self.secrets.get(at));
        secret.map(|secret| secret.as_slice()).unwrap_or_default()
    }
}

fn slices(secrets: &[Secret]) -> impl Iterator<Item = &[u8]> {
    secrets.iter().map(|secret| secret.as_slice())
}

fn too_short(at: usize) -> Unfit {
    Unfit { at, what: format!("is shorter than {KEY_BYTES_MIN} bytes") }
}

fn text(secret: &str) -> Result<Zeroizing<String>, String> {
    Ok(Zeroizing::new(secret.to_owned()))
}
