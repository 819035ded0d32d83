//! A private key, for tests, that signs when it is let to.

use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    Error, SignatureAlgorithm, SignatureScheme,
    sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey},
};

use super::*;

#[derive(Default, Debug)]
struct State {
    is_shut: bool,
    waiting: usize,
    threads: Vec<String>,
}

/// Holds up all signatures while it is shut.
#[derive(Clone, Default, Debug)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>);

impl Gate {
    pub(crate) fn shut(&self) {
        self.0.0.lock().unwrap().is_shut = true;
    }

    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().is_shut = false;
        self.0.1.notify_all();
    }

    pub(crate) async fn until_somebody_waits(&self) {
        while self.0.0.lock().unwrap().waiting == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The names of all threads that have signed.
    pub(crate) fn threads(&self) -> Vec<String> {
        self.0.0.lock().unwrap().threads.clone()
    }

    fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        let name = thread::current().name().unwrap_or("without a name").to_owned();
        if !state.threads.contains(&name) {
            state.threads.push(name);
        }
        state.waiting += 1;
        let mut state = self.0.1.wait_while(state, |state| state.is_shut).unwrap();
        state.waiting -= 1;
    }
}

#[derive(Debug)]
struct Key(Arc<dyn SigningKey>, Gate);

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(Pen(self.0.choose_scheme(offered)?, self.1.clone())))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

#[derive(Debug)]
struct Pen(Box<dyn Signer>, Gate);

impl Signer for Pen {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.1.pass();
        self.0.sign(message)
    }

    fn scheme(&self) -> SignatureScheme {
        self.0.scheme()
    }
}

impl ServerTls {
    /// Shows a certificate of its own, with a key behind a gate.
    pub(crate) fn behind_a_gate() -> (Self, Gate) {
        let (key, gate) = (KeyPair::generate().unwrap(), Gate::default());
        let own = CertificateParams::default().self_signed(&key).unwrap().der().clone();
        let key = private_key(key.serialize_pem().as_bytes()).unwrap();
        let key = provider().key_provider.load_private_key(key).unwrap();
        let key = CertifiedKey::new(vec![own.clone()], Arc::new(Key(key, gate.clone())));
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        (Self { config: Arc::new(config), own, ends: SystemTime::UNIX_EPOCH }, gate)
    }
}
