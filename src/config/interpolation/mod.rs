//! Variables, environment and secrets in texts: `${vars.x}`, `${env.X:-default}`, `${secret.X}`, and overrides.

pub(crate) mod interpolate;
pub(crate) mod overrides;
pub(crate) mod secrets;
pub(crate) mod template;
pub(crate) mod variables;
