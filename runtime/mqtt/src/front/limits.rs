//! Caps: how many connections there may be, in all and from one address, and how many handshakes at a time.

use super::metrics::{Counters, Failure};
use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a [`Front`](super::Front) allows, over all its listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections in all, those in their handshake included.
    pub connections: usize,
    /// Open connections from one address (of IPv6: from one /64 network, which is what one host is given).
    pub connections_per_address: usize,
    /// TLS handshakes at a time. A client that has not sent its first byte does not count; those beyond wait their turn.
    /// One address gets a quarter of them at most.
    pub handshakes: usize,
    /// From accepting the TCP connection to the end of the TLS and WebSocket handshakes.
    pub handshake_time: Duration,
    /// Handshakes that may compute at a time on threads of their own, so that they do not hold up messages. 0: they compute on
    /// the executor's threads, unless the key is a slow one ([`TlsConfig::slow_key`](super::TlsConfig::slow_key)).
    pub handshake_threads: usize,
    /// Largest WebSocket message; an MQTT packet usually comes as one.
    pub websocket_message: usize,
}

impl Default for Limits {
    /// 8,192 connections, half of them from one address; 256 handshakes of 10 seconds; WebSocket messages of 1 MiB.
    fn default() -> Self {
        Self {
            connections: 8192,
            connections_per_address: 4096,
            handshakes: 256,
            handshake_time: Duration::from_secs(10),
            handshake_threads: 0,
            websocket_message: 1 << 20,
        }
    }
}

/// Counts who is inside.
#[derive(Debug)]
pub(super) struct Gate {
    limits: Limits,
    counters: Arc<Counters>,
    inside: Mutex<Inside>,
    handshakes: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Inside {
    all: usize,
    addresses: HashMap<IpAddr, Address>,
}

#[derive(Debug)]
struct Address {
    connections: usize,
    handshakes: Arc<Semaphore>,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    gate: Arc<Gate>,
    key: IpAddr,
}

/// The right to be in a handshake.
#[derive(Debug)]
pub(super) struct Turn {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Gate {
    pub(super) fn new(limits: Limits, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            counters,
            inside: Mutex::default(),
            handshakes: Arc::new(Semaphore::new(limits.handshakes.max(1))),
        })
    }

    /// A place for a connection from this address, or the cap that is in the way.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, Failure> {
        let key = host(address);
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.all >= self.limits.connections {
            return Err(Failure::TooMany);
        }
        let own = inside.addresses.entry(key).or_insert_with(|| Address {
            connections: 0,
            handshakes: Arc::new(Semaphore::new(self.limits.handshakes.div_ceil(4).max(1))),
        });
        if own.connections >= self.limits.connections_per_address.max(1) {
            return Err(Failure::TooManyFromAddress);
        }
        own.connections += 1;
        inside.all += 1;
        self.counters.open(inside.all);
        Ok(Place {
            gate: self.clone(),
            key,
        })
    }
}

impl Place {
    /// Waits for a turn: first among its own address's handshakes, so that one address never fills the queue of all.
    pub(super) async fn turn(&self) -> Option<Turn> {
        let own = {
            let inside = &self.gate.inside;
            let inside = inside.lock().unwrap_or_else(PoisonError::into_inner);
            inside.addresses.get(&self.key)?.handshakes.clone()
        };
        Some(Turn {
            _own: own.acquire_owned().await.ok()?,
            _all: self.gate.handshakes.clone().acquire_owned().await.ok()?,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = (self.gate.inside.lock()).unwrap_or_else(PoisonError::into_inner);
        inside.all = inside.all.saturating_sub(1);
        if let Entry::Occupied(mut own) = inside.addresses.entry(self.key) {
            own.get_mut().connections -= 1;
            if own.get().connections == 0 {
                own.remove();
            }
        }
        self.gate.counters.open(inside.all);
    }
}

/// What counts as one address: IPv4 as it is (also when it comes mapped into IPv6), IPv6 by its /64 network.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(connections: usize, connections_per_address: usize) -> Arc<Gate> {
        let limits = Limits {
            connections,
            connections_per_address,
            handshakes: 4,
            ..Limits::default()
        };
        Gate::new(limits, Arc::default())
    }

    #[test]
    fn a_place_is_given_back_when_its_connection_ends() {
        let gate = gate(2, 2);
        let a = "10.0.0.1".parse().unwrap();
        let first = gate.enter(a).unwrap();
        let _second = gate.enter(a).unwrap();
        assert_eq!(gate.enter(a).unwrap_err(), Failure::TooMany);
        drop(first);
        assert!(gate.enter(a).is_ok());
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let gate = gate(10, 1);
        let _a = gate.enter("10.0.0.1".parse().unwrap()).unwrap();
        let again = gate.enter("::ffff:10.0.0.1".parse().unwrap());
        assert_eq!(again.unwrap_err(), Failure::TooManyFromAddress);
        assert!(gate.enter("10.0.0.2".parse().unwrap()).is_ok());
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_count_as_one() {
        let gate = gate(10, 1);
        let _a = gate.enter("2001:db8::1".parse().unwrap()).unwrap();
        assert!(gate.enter("2001:db8::ffff".parse().unwrap()).is_err());
        assert!(gate.enter("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }

    #[test]
    fn nothing_is_kept_of_addresses_that_have_left() {
        let gate = gate(10, 10);
        drop(gate.enter("10.0.0.1".parse().unwrap()).unwrap());
        assert!(gate.inside.lock().unwrap().addresses.is_empty());
    }

    #[tokio::test]
    async fn one_address_gets_a_quarter_of_the_handshakes() {
        let gate = gate(10, 10);
        let greedy = gate.enter("10.0.0.1".parse().unwrap()).unwrap();
        let modest = gate.enter("10.0.0.2".parse().unwrap()).unwrap();
        let _turn = greedy.turn().await.unwrap();
        let mut second = std::pin::pin!(greedy.turn());
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        assert!(modest.turn().await.is_some());
    }
}
