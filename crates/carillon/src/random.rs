//! Random bytes, and the texts made of them.

use anyhow::{Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};

fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system gives no random bytes"))?;
    Ok(bytes)
}

/// Base64 of 32 bytes, the form of `CARILLON_SECRETS__KEY`.
pub(crate) fn master_key() -> Result<String> {
    Ok(STANDARD.encode(bytes::<32>()?))
}

/// A text of 43 URL-safe characters that nobody can guess.
pub(crate) fn token() -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(bytes::<32>()?))
}

/// 64 hexadecimal digits: the form of an APNs device token.
pub(crate) fn hex() -> Result<String> {
    Ok(bytes::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}
