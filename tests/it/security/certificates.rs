//! Callers that show certificates to the bridge itself.
