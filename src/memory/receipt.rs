//! Whether an answer reached its caller.

use std::sync::Arc;

use super::Memory;
use crate::domain::{call_id::CallId, record::Round, shared::Delivery};

/// Says whether an answer was written to a caller that was still there. Dropped without a word,
/// it was not.
pub struct Receipt {
    pub(super) memory: Arc<Memory>,
    pub(super) call: CallId,
    pub(super) round: Round,
    pub(super) delivery: Delivery,
}

impl Receipt {
    /// The last byte of the answer went to the socket while the connection was open.
    pub fn delivered(mut self) {
        self.delivery = Delivery::Yes;
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.memory.end_of_answer(self.call, self.round, self.delivery);
    }
}
