//! The OPT record of a reply (RFC 6891), and the Extended DNS Error in it (RFC 8914).

use hickory_proto::{
    op::Edns,
    rr::rdata::opt::{EdnsCode, EdnsOption},
};

use crate::message::{
    cookie::FullCookie,
    ede::{Reason, TextForm},
    types::{EdeCode, OptionCode, Rcode, Rtype},
};

/// The largest UDP answer that the listener sends, and the payload size that it advertises, in
/// octets: fits every path unfragmented (DNS flag day 2020).
pub(crate) const UDP_PAYLOAD_MAX: u16 = 1232;
/// Octets of an OPT record without options.
pub(crate) const OPT_OCTETS: usize = 11;
/// Octets of an Extended DNS Error option without text (RFC 8914 section 2).
pub(crate) const EDE_OCTETS: usize = 6;
/// Octets of a COOKIE option in a reply.
pub(crate) const COOKIE_OCTETS: usize = 4 + size_of::<FullCookie>();

/// Appends an OPT record.
pub(crate) fn push(
    buffer: &mut Vec<u8>,
    rcode: Rcode,
    dnssec_ok: bool,
    reason: Option<(Reason<'_>, TextForm)>,
    cookie: Option<&FullCookie>,
) {
    let begin = buffer.len();
    // Root name, type, payload size, upper bits of the rcode, version 0, flags, length 0: RFC 6891
    // section 6.1.
    let [type_high, type_low] = Rtype::OPT.to_be_bytes();
    let [payload_high, payload_low] = UDP_PAYLOAD_MAX.to_be_bytes();
    let flags = u8::from(dnssec_ok) << 7;
    buffer.extend_from_slice(&[
        0,
        type_high,
        type_low,
        payload_high,
        payload_low,
        (rcode as u8) >> 4,
        0,
        flags,
        0,
        0,
        0,
    ]);
    if let Some((reason, form)) = reason {
        push_reason(buffer, reason, form);
    }
    if let Some(cookie) = cookie {
        push_cookie(buffer, begin, cookie);
    }
}

/// Appends a COOKIE option to the OPT record that begins at an offset, and raises the record's
/// length.
#[inline(never)]
fn push_cookie(buffer: &mut Vec<u8>, begin: usize, cookie: &FullCookie) {
    buffer.extend_from_slice(&OptionCode::COOKIE.to_be_bytes());
    buffer.extend_from_slice(&(cookie.len() as u16).to_be_bytes());
    buffer.extend_from_slice(cookie);
    let octets = buffer.len() - begin - OPT_OCTETS;
    buffer[begin + OPT_OCTETS - 2..begin + OPT_OCTETS]
        .copy_from_slice(&(octets as u16).to_be_bytes());
}

/// Appends an Extended DNS Error to an OPT record without options, and sets both lengths.
fn push_reason(buffer: &mut Vec<u8>, reason: Reason<'_>, form: TextForm) {
    let begin = buffer.len();
    push_code(buffer, reason.code());
    reason.write(form, |piece| buffer.extend_from_slice(piece.as_bytes()));
    let octets = u16::try_from(buffer.len() - begin).expect("a list of slugs is short");
    buffer[begin - 2..begin].copy_from_slice(&octets.to_be_bytes());
    buffer[begin + 2..begin + 4].copy_from_slice(&(octets - 4).to_be_bytes());
    if let Some(code) = reason.second_code() {
        push_code(buffer, code);
        let octets = octets + EDE_OCTETS as u16;
        buffer[begin - 2..begin].copy_from_slice(&octets.to_be_bytes());
    }
}

/// Appends an Extended DNS Error without text.
fn push_code(buffer: &mut Vec<u8>, code: EdeCode) {
    let [option_high, option_low] = OptionCode::EDE.to_be_bytes();
    let [code_high, code_low] = code.to_be_bytes();
    buffer.extend_from_slice(&[option_high, option_low, 0, 2, code_high, code_low]);
}

/// The longest JSON text that fits into so many octets, so that a text never causes truncation.
#[cold]
#[inline(never)]
pub(crate) fn json_form(reason: Reason<'_>, octets_left: usize) -> TextForm {
    [TextForm::FullJson, TextForm::ShortJson]
        .into_iter()
        .find(|form| reason.octets(*form) <= octets_left)
        .unwrap_or(TextForm::CodeOnly)
}

/// The info-code and the text of the Extended DNS Error in an OPT record.
#[must_use]
pub fn read_extended_error(edns: &Edns) -> Option<(u16, String)> {
    match edns.option(EdnsCode::Unknown(OptionCode::EDE.to_u16()))? {
        EdnsOption::Unknown(_, data) => {
            let (code, text) = data.split_first_chunk::<2>()?;
            Some((
                u16::from_be_bytes(*code),
                String::from_utf8_lossy(text).into_owned(),
            ))
        }
        _ => None,
    }
}
