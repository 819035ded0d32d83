//! The example workers as people run them: real processes at a real nats-server.

mod approval;
