package egress

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// A Resolver finds the addresses of names; net.DefaultResolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// A Transport makes requests as rules allow. It follows no redirects and reads
// no proxy from the environment: one would dial for us, unchecked.
type Transport struct {
	target string
	rules  Rules
	inner  *http.Transport
}

// NewTransport makes a Transport for a target.
func NewTransport(target string, rules Rules, resolver Resolver) *Transport {
	d := dialer{rules: rules, resolver: resolver}
	return &Transport{target: target, rules: rules, inner: &http.Transport{
		DialContext:            d.dial,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}}
}

// RoundTrip makes one request. The error may be a *Refused.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.rules.Check(t.target, r.URL); err != nil {
		return nil, err
	}
	return t.inner.RoundTrip(r)
}

// CloseIdleConnections closes what is not in use.
func (t *Transport) CloseIdleConnections() { t.inner.CloseIdleConnections() }

// dialer connects to addresses that it has checked.
type dialer struct {
	rules    Rules
	resolver Resolver
	net      net.Dialer
}

// dialPatience bounds connecting to one of a name's addresses.
const dialPatience = 10 * time.Second

// dial resolves once, checks every address, and dials what it has checked.
func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	list, allowed := []netip.Addr{}, d.rules.AllowPrivate
	if a, err := netip.ParseAddr(host); err == nil {
		list, allowed = append(list, a), true // Check has found it in the list
	} else if list, err = d.resolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil, fmt.Errorf("find the address of %s: %w", host, err)
	}
	for _, a := range list {
		switch c := classify(a); {
		case c == never:
			return nil, refusef("host %s stands for %s, an address that nobody may ask for", host, a.Unmap())
		case c == private && !allowed:
			return nil, refusef("host %s stands for %s, a private address, and the target does not have allow_private", host, a.Unmap())
		}
	}
	err = fmt.Errorf("host %s has no address", host)
	for _, a := range list {
		var conn net.Conn
		one, cancel := context.WithTimeout(ctx, dialPatience)
		conn, err = d.net.DialContext(one, network, net.JoinHostPort(a.String(), port))
		cancel()
		if err == nil {
			return conn, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}
