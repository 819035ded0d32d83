//! Who gets in, and who does not: over TLS, with certificates, keys and passwords.

mod certificates;
