// What a certificate says of itself: whose it is, and from when until when it is good.
//
// Source: RFC 5280, 4.1 (fields), and X.690 (DER).

const SEQUENCE = 0x30;
const VERSION = 0xa0;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const COMMON_NAME = '550403';

const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const hexOf = (content, separator = '') => Array.from(content, (byte) => byte.toString(16).padStart(2, '0')).join(separator);
const textOf = (content) => new TextDecoder().decode(content);

// `{ subject, serial, from, until, fingerprint }` of a certificate in DER, in base64; null where it is none.
export async function readCertificate(base64) {
  try {
    const der = bytesOf(base64);
    return { ...fields(der), fingerprint: await fingerprint(der) };
  } catch {
    return null;
  }
}

function fields(der) {
  const [certificate] = items(der);
  const [signed] = items(inside(certificate));
  const parts = items(inside(signed)).filter(({ tag }) => tag !== VERSION);
  // Serial number, algorithm, issuer, validity, subject.
  const [serial, , , validity, subject] = parts;
  const [from, until] = items(inside(validity)).map(timeOf);
  return { serial: hexOf(serial.content, ':'), from, until, subject: commonName(subject) };
}

function inside({ tag, content }) {
  if (tag !== SEQUENCE) throw new Error('no sequence');
  return content;
}

// The items that stand one after the other: `{ tag, content }`.
function items(content) {
  const found = [];
  for (let at = 0; at < content.length;) {
    const tag = content[at];
    let length = content[at + 1];
    at += 2;
    if (length >= 0x80) {
      const digits = length & 0x7f;
      if (digits === 0 || digits > 3) throw new Error('no length of DER');
      length = content.slice(at, at + digits).reduce((sum, byte) => sum * 256 + byte, 0);
      at += digits;
    }
    if (!(at + length <= content.length)) throw new Error('it is cut');
    found.push({ tag, content: content.slice(at, at + length) });
    at += length;
  }
  return found;
}

function commonName(name) {
  for (const set of items(inside(name))) {
    for (const pair of items(set.content)) {
      const [type, value] = items(inside(pair));
      if (hexOf(type.content) === COMMON_NAME) return textOf(value.content);
    }
  }
  return undefined;
}

// In milliseconds since 1970. A year of two digits is one of 1950 to 2049.
function timeOf({ tag, content }) {
  if (tag !== UTC_TIME && tag !== GENERALIZED_TIME) throw new Error('no time');
  const text = textOf(content);
  const digits = tag === UTC_TIME ? (Number(text.slice(0, 2)) < 50 ? '20' : '19') + text : text;
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(digits).map(Number);
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

async function fingerprint(der) {
  if (!globalThis.crypto?.subtle) return undefined;
  return hexOf(new Uint8Array(await crypto.subtle.digest('SHA-256', der)), ':');
}
