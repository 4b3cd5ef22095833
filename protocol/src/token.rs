//! The secret that ties a vsock connection to the stream it carries.

use std::fmt;

/// 128 random bits, made by the shim, sent to the agent in the request that
/// creates the process, and written by the agent as the first bytes of the
/// stream's connection. Any process in the guest can dial the host; only the
/// agent knows the tokens.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token([u8; Self::LEN]);

impl Token {
    /// Bytes of a token.
    pub const LEN: usize = 16;

    /// A token of the given bytes.
    pub fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The token in `bytes`: `None` unless they are exactly [`Self::LEN`].
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes that go over the wire.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// Tokens are secrets: logs show that there is one, not which.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_length_is_a_token() {
        assert!(Token::from_slice(&[0; 15]).is_none());
        assert!(Token::from_slice(&[0; 17]).is_none());
        assert_eq!(Token::from_slice(&[7; 16]), Some(Token::new([7; 16])));
    }

    #[test]
    fn debug_does_not_tell() {
        assert_eq!(format!("{:?}", Token::new([0x41; 16])), "Token(..)");
    }
}
