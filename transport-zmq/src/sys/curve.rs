//! Keys of CURVE.

use std::ffi::{CString, c_char, c_int};

use super::last_error;

/// Bytes of a key, and of its text with the closing zero.
const LEN: usize = 32;
const TEXT_LEN: usize = 41;

// SAFETY: as in `zmq.h`; `zmq-sys` links the library, and only forgets to name this function.
unsafe extern "C" {
    fn zmq_curve_public(public: *mut c_char, secret: *const c_char) -> c_int;
}

/// The public key that belongs to a secret one; an error where libzmq has no CURVE.
pub(crate) fn curve_public(secret: &[u8; LEN]) -> Result<[u8; LEN], zmq::Error> {
    let text = zmq::z85_encode(secret).map_err(|_| zmq::Error::EINVAL)?;
    let text = CString::new(text).map_err(|_| zmq::Error::EINVAL)?;
    let mut public = [0u8; TEXT_LEN];
    // SAFETY: `text` is 40 characters and a zero, `public` has room for as many, and both outlive
    // the call.
    let code = unsafe { zmq_curve_public(public.as_mut_ptr().cast::<c_char>(), text.as_ptr()) };
    if code != 0 {
        return Err(last_error());
    }
    let text = std::str::from_utf8(&public[..TEXT_LEN - 1]).map_err(|_| zmq::Error::EINVAL)?;
    let bytes = zmq::z85_decode(text).map_err(|_| zmq::Error::EINVAL)?;
    bytes.try_into().map_err(|_| zmq::Error::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_belongs_together_where_there_is_curve() {
        let pair = zmq::CurveKeyPair::new();
        assert_eq!(pair.is_ok(), zmq::has("curve").unwrap_or(false));
        match pair {
            Ok(pair) => assert_eq!(curve_public(&pair.secret_key), Ok(pair.public_key)),
            Err(_) => assert_eq!(curve_public(&[7; LEN]), Err(zmq::Error::ENOTSUP)),
        }
    }
}
