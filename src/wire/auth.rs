//! Authentication messages: those that the proxy reads or makes when it withdraws a mechanism or authenticates itself.
//! All others pass unread.

use bytes::{BufMut, BytesMut};

use super::cursor::Cursor;
use super::edit::{frame, put_cstr};
use super::tag::{back, front};

/// The name of SCRAM's mechanism.
pub const SCRAM: &str = "SCRAM-SHA-256";
/// The same with channel binding.
pub const SCRAM_PLUS: &str = "SCRAM-SHA-256-PLUS";

const OK: u32 = 0;
const CLEARTEXT: u32 = 3;
const MD5: u32 = 5;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// What the server asks or says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// The client is authenticated.
    Ok,
    /// It wants the password as it is.
    Cleartext,
    /// It wants the password hashed with this salt.
    Md5([u8; 4]),
    /// It offers these mechanisms.
    Sasl(Vec<&'a [u8]>),
    /// A mechanism's next message.
    SaslContinue(&'a [u8]),
    /// A mechanism's last message.
    SaslFinal(&'a [u8]),
    /// Another way, such as GSSAPI.
    Other(u32),
}

/// Reads the body of an Authentication message.
pub fn read_authentication(body: &[u8]) -> Option<Authentication<'_>> {
    let mut c = Cursor(body);
    Some(match c.u32()? {
        OK => Authentication::Ok,
        CLEARTEXT => Authentication::Cleartext,
        MD5 => Authentication::Md5(c.array()?),
        SASL => {
            let mut mechanisms = Vec::new();
            loop {
                match c.cstr()? {
                    b"" => break,
                    name => mechanisms.push(name),
                }
            }
            Authentication::Sasl(mechanisms)
        }
        SASL_CONTINUE => Authentication::SaslContinue(c.0),
        SASL_FINAL => Authentication::SaslFinal(c.0),
        other => Authentication::Other(other),
    })
}

/// AuthenticationSASL with these mechanisms.
#[must_use]
pub fn sasl(out: &mut BytesMut, mechanisms: &[&[u8]]) -> bool {
    frame(out, back::AUTHENTICATION, |out| {
        out.put_u32(SASL);
        for name in mechanisms {
            put_cstr(out, name)?;
        }
        out.put_u8(0);
        Some(())
    })
}

/// AuthenticationSASLContinue.
#[must_use]
pub fn sasl_continue(out: &mut BytesMut, data: &[u8]) -> bool {
    with_data(out, SASL_CONTINUE, data)
}

/// AuthenticationSASLFinal.
#[must_use]
pub fn sasl_final(out: &mut BytesMut, data: &[u8]) -> bool {
    with_data(out, SASL_FINAL, data)
}

fn with_data(out: &mut BytesMut, code: u32, data: &[u8]) -> bool {
    frame(out, back::AUTHENTICATION, |out| {
        out.put_u32(code);
        out.put_slice(data);
        Some(())
    })
}

/// PasswordMessage.
#[must_use]
pub fn password(out: &mut BytesMut, password: &[u8]) -> bool {
    frame(out, front::PASSWORD, |out| put_cstr(out, password))
}

/// SASLInitialResponse.
#[must_use]
pub fn sasl_initial(out: &mut BytesMut, mechanism: &str, data: &[u8]) -> bool {
    frame(out, front::PASSWORD, |out| {
        put_cstr(out, mechanism.as_bytes())?;
        out.put_u32(u32::try_from(data.len()).ok()?);
        out.put_slice(data);
        Some(())
    })
}

/// SASLResponse.
#[must_use]
pub fn sasl_response(out: &mut BytesMut, data: &[u8]) -> bool {
    frame(out, front::PASSWORD, |out| {
        out.put_slice(data);
        Some(())
    })
}

/// Mechanism and message of a SASLInitialResponse's body.
pub fn read_sasl_initial(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut c = Cursor(body);
    let mechanism = c.cstr()?;
    let len = usize::try_from(c.u32()?).ok()?;
    let data = c.bytes(len)?;
    c.end()?;
    Some((mechanism, data))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let body = |write: &dyn Fn(&mut BytesMut) -> bool| {
            let mut out = BytesMut::new();
            assert!(write(&mut out));
            assert_eq!(u32::from_be_bytes(out[1..5].try_into().unwrap()) as usize, out.len() - 1);
            out[5..].to_vec()
        };
        let offered = body(&|out| sasl(out, &[b"A", b"B"]));
        assert_eq!(read_authentication(&offered), Some(Authentication::Sasl(vec![b"A", b"B"])));
        assert_eq!(read_authentication(&offered[..offered.len() - 1]), None);
        let next = body(&|out| sasl_continue(out, b"r=x"));
        assert_eq!(read_authentication(&next), Some(Authentication::SaslContinue(b"r=x")));
        let last = body(&|out| sasl_final(out, b"v=x"));
        assert_eq!(read_authentication(&last), Some(Authentication::SaslFinal(b"v=x")));
        assert_eq!(read_authentication(&[0, 0, 0, 0]), Some(Authentication::Ok));
        assert_eq!(read_authentication(&[0, 0, 0, 3]), Some(Authentication::Cleartext));
        assert_eq!(read_authentication(&[0, 0, 0, 5, 1, 2, 3, 4]), Some(Authentication::Md5([1, 2, 3, 4])));
        assert_eq!(read_authentication(&[0, 0, 0, 5, 1, 2, 3]), None);
        assert_eq!(read_authentication(&[0, 0, 0, 7]), Some(Authentication::Other(7)));
        assert_eq!(read_authentication(&[0, 0, 0]), None);
        let initial = body(&|out| sasl_initial(out, "M", b"n,,"));
        assert_eq!(read_sasl_initial(&initial), Some((&b"M"[..], &b"n,,"[..])));
        for end in 0..initial.len() {
            assert_eq!(read_sasl_initial(&initial[..end]), None);
        }
        assert_eq!(read_sasl_initial(b"M\0\xff\xff\xff\xff"), None);
    }
}
