//! Which addresses a webhook may be sent to: public ones. Pure.
//!
//! Whoever registers an endpoint names a host, and could name one that only this machine can reach: a database beside it,
//! the service that hands out a cloud's credentials. So the address that is about to be connected to is looked at, after
//! the name was resolved. Ranges are those of IANA's registries of special-purpose addresses.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::{fmt, str::FromStr};

/// Addresses that begin alike: `10.0.0.0/8`, `fc00::/7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network: 127.0.0.0/8 is one, and so is ::1")]
pub struct NoNetwork(String);

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let wrong = || NoNetwork(text.chars().take(60).collect());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let first: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(wrong()) } else { Ok(Self { first, bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl Network {
    /// Whether the address is one of it. IPv4 and IPv6 are two worlds.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => is_within(address, first, self.bits),
            (IpAddr::V6(first), IpAddr::V6(address)) => is_within_v6(address, first, self.bits),
            _ => false,
        }
    }
}

fn is_within(address: Ipv4Addr, first: Ipv4Addr, bits: u8) -> bool {
    (address.to_bits() ^ first.to_bits()).leading_zeros() >= u32::from(bits)
}

fn is_within_v6(address: Ipv6Addr, first: Ipv6Addr, bits: u8) -> bool {
    (address.to_bits() ^ first.to_bits()).leading_zeros() >= u32::from(bits)
}

/// What of IPv4 is not public.
const V4: &[([u8; 4], u8, &str)] = &[
    ([0, 0, 0, 0], 8, "it is of this network"),
    ([10, 0, 0, 0], 8, "it is private"),
    ([100, 64, 0, 0], 10, "it is behind a carrier's NAT"),
    ([127, 0, 0, 0], 8, "it is this machine's own"),
    ([168, 63, 129, 16], 32, "it is a cloud's metadata service"),
    ([169, 254, 0, 0], 16, "it is link-local"),
    ([172, 16, 0, 0], 12, "it is private"),
    ([192, 0, 0, 0], 24, "it is reserved for protocols"),
    ([192, 0, 2, 0], 24, "it is for documentation"),
    ([192, 88, 99, 0], 24, "it relays 6to4"),
    ([192, 168, 0, 0], 16, "it is private"),
    ([198, 18, 0, 0], 15, "it is for benchmarks"),
    ([198, 51, 100, 0], 24, "it is for documentation"),
    ([203, 0, 113, 0], 24, "it is for documentation"),
    ([224, 0, 0, 0], 4, "it is multicast"),
    ([240, 0, 0, 0], 4, "it is reserved"),
];

/// What of IPv6 is not public, beside all that is outside of 2000::/3.
const V6: &[(Ipv6Addr, u8, &str)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "it is reserved for protocols"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "it is for documentation"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "it is for documentation"),
];

/// All of IPv6 that is given out for public use.
const GLOBAL: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// IPv6 addresses that stand for one of IPv4: their network, and how many bits come before it.
const FORMS: &[(Ipv6Addr, u8)] = &[
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),    // mapped
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96), // NAT64
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),    // 6to4
];

/// The IPv4 address that a connection to this one ends at, if it does.
fn inner(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (_, bits) = FORMS.iter().find(|(first, bits)| is_within_v6(address, *first, *bits))?;
    let rest = address.to_bits() << bits;
    Some(Ipv4Addr::from_bits(u32::try_from(rest >> 96).ok()?))
}

/// Whether a webhook may be sent there: to what is public, or allowed by name.
///
/// # Errors
/// Why not.
pub fn check(address: IpAddr, allowed: &[Network]) -> Result<(), &'static str> {
    let is_allowed = |address: IpAddr| allowed.iter().any(|network| network.contains(address));
    if is_allowed(address) {
        return Ok(());
    }
    let v4 = match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => match inner(address) {
            Some(inner) if is_allowed(inner.into()) => return Ok(()),
            Some(inner) => inner,
            None => return check_v6(address),
        },
    };
    let found = V4.iter().find(|(first, bits, _)| is_within(v4, Ipv4Addr::from(*first), *bits));
    found.map_or(Ok(()), |(.., why)| Err(*why))
}

fn check_v6(address: Ipv6Addr) -> Result<(), &'static str> {
    if !is_within_v6(address, GLOBAL.0, GLOBAL.1) {
        return Err("it is not public");
    }
    let found = V6.iter().find(|(first, bits, _)| is_within_v6(address, *first, *bits));
    found.map_or(Ok(()), |(.., why)| Err(*why))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_public(address: &str) -> bool {
        check(address.parse().expect(address), &[]).is_ok()
    }

    /// The first and the last address of an IPv4 range, and their neighbours.
    fn edges(first: [u8; 4], bits: u8) -> (Ipv4Addr, Ipv4Addr, Option<Ipv4Addr>, Option<Ipv4Addr>) {
        let first = u32::from_be_bytes(first);
        let last = first | u32::MAX.checked_shr(bits.into()).unwrap_or(0);
        let neighbour = |address: Option<u32>| address.map(Ipv4Addr::from_bits);
        (first.into(), last.into(), neighbour(first.checked_sub(1)), neighbour(last.checked_add(1)))
    }

    #[test]
    fn every_range_is_refused_from_its_first_address_to_its_last_and_not_beyond() {
        let in_some = |address: Ipv4Addr| {
            V4.iter().any(|(first, bits, _)| is_within(address, Ipv4Addr::from(*first), *bits))
        };
        for (range, bits, why) in V4 {
            let (first, last, before, after) = edges(*range, *bits);
            for inside in [first, last] {
                assert_eq!(check(inside.into(), &[]), Err(*why), "{inside}");
                for (form, bits) in FORMS {
                    let shifted = u128::from(inside.to_bits()) << (96 - u32::from(*bits));
                    let address = Ipv6Addr::from_bits(form.to_bits() | shifted);
                    assert_eq!(check(address.into(), &[]), Err(*why), "{address} stands for {inside}");
                }
            }
            for outside in [before, after].into_iter().flatten() {
                assert_eq!(check(outside.into(), &[]).is_err(), in_some(outside), "{outside}");
            }
        }
    }

    #[test]
    fn known_addresses_are_judged_rightly() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.216.34",
            "9.255.255.255",
            "11.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "169.253.255.255",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::200e",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::",
        ] {
            assert!(is_public(public), "{public}");
        }
        for refused in [
            "0.0.0.0",
            "127.0.0.1",
            "127.255.255.254",
            "10.1.2.3",
            "192.168.1.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "ff02::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "3fff::1",
            "5f00::1",
            "4000::1",
        ] {
            assert!(!is_public(refused), "{refused}");
        }
    }

    #[test]
    fn what_is_allowed_by_name_is_allowed_in_each_of_its_forms_and_nothing_beside_it() {
        let allowed = ["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(check(address.parse().unwrap(), &allowed), Ok(()), "{address}");
        }
        for address in ["10.0.0.1", "::2", "128.0.0.0", "::ffff:10.0.0.1"] {
            assert_eq!(
                check(address.parse().unwrap(), &allowed).is_ok(),
                address == "128.0.0.0",
                "{address}"
            );
        }
    }

    #[test]
    fn networks_are_read_and_written() {
        for text in ["10.0.0.0/8", "fc00::/7", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Network>().map(|network| network.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("::1".parse::<Network>().map(|network| network.to_string()).as_deref(), Ok("::1/128"));
        for wrong in ["", "localhost", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0/8", "10.0.0.0/8/8"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains("255.1.2.3".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn nothing_that_the_standard_library_knows_as_special_is_public(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let special = address.is_loopback() || address.is_private() || address.is_link_local()
                || address.is_multicast() || address.is_broadcast() || address.is_unspecified()
                || address.is_documentation();
            prop_assert!(!special || check(address.into(), &[]).is_err());
            prop_assert_eq!(check(address.into(), &[]), check(address.to_ipv6_mapped().into(), &[]));
        }

        #[test]
        fn nothing_special_of_ipv6_is_public(bits: u128) {
            let address = Ipv6Addr::from_bits(bits);
            let special = address.is_loopback() || address.is_multicast() || address.is_unspecified()
                || address.is_unique_local() || address.is_unicast_link_local();
            prop_assert!(!special || check(address.into(), &[]).is_err());
        }
    }
}
