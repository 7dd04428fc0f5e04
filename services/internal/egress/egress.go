// Package egress says which hosts and addresses requests may go to.
//
// What a request may reach is checked twice: its host by name, against the list
// of the operator, before anything is sent and again for each redirect; and each
// address that the name stands for, when it is dialled. The address that was
// checked is the one that is dialled, so a name that changes its mind in between
// changes nothing.
package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Rules are what an operator allows.
type Rules struct {
	// Hosts are names or addresses as ParseHost gives them. One without a port
	// allows the port of the scheme alone.
	Hosts []string `json:"hosts"`
	// AllowHTTP allows requests that others can read on their way.
	AllowHTTP bool `json:"allow_http,omitempty"`
	// AllowPrivate allows that names of the list stand for addresses that are
	// not on the internet. An address that is itself in the list needs it not.
	AllowPrivate bool `json:"allow_private,omitempty"`
}

// A Refused is a request that is not made, whoever tries it again.
type Refused struct{ Why string }

func (r *Refused) Error() string { return r.Why }

func refusef(format string, args ...any) error { return &Refused{fmt.Sprintf(format, args...)} }

// IsRefused says whether trying again is no use as long as the rules stay.
func IsRefused(err error) bool {
	_, ok := errors.AsType[*Refused](err)
	return ok
}

var hostRE = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)

// ParseHost reads an entry of Hosts: a name or an address, in brackets if it is
// one of IPv6, and a port where it is not that of the scheme.
func ParseHost(text string) (string, error) {
	u, err := url.Parse("//" + text)
	if err != nil || u.Host != text || u.User != nil || text == "" || len(text) > 300 {
		return "", errors.New("it is not a host, or a host and a port")
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if strings.HasSuffix(u.Host, ":") {
		return "", errors.New("it ends with a colon")
	}
	if port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port {
			return "", fmt.Errorf("port %s: 1 to 65535", port)
		}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" || classify(a) == never {
			return "", errors.New("nobody may ask for this address")
		}
		host = a.Unmap().String()
	} else if err := name(host); err != nil {
		return "", err
	}
	return joined(host, port), nil
}

// name refuses what resolvers read as an address although it does not look like
// one: 127.1, 0x7f.1, 2130706433.
func name(host string) error {
	if !hostRE.MatchString(host) || len(host) > 253 {
		return errors.New("it is not the name of a host")
	}
	last := host[strings.LastIndex(host, ".")+1:]
	if _, err := strconv.ParseUint(last, 0, 64); err == nil || last[0] >= '0' && last[0] <= '9' {
		return errors.New("it is neither a name nor an address")
	}
	return nil
}

func joined(host, port string) string {
	if port != "" {
		return net.JoinHostPort(host, port)
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// ports of the schemes.
var ports = map[string]string{"https": "443", "http": "80"}

// Check says why no request may go to an address, or nil. target is what people
// call the rules.
func (r Rules) Check(target string, u *url.URL) error {
	standard, known := ports[u.Scheme]
	switch {
	case !known:
		return refusef("scheme %s: https is wanted", quoted(u.Scheme))
	case u.User != nil:
		return refusef("user info in a url; the target has the credentials")
	case u.Host == "" || u.Opaque != "":
		return refusef("the url has no host")
	case u.Scheme == "http" && !r.AllowHTTP:
		return refusef("target %s does not allow http: write https", target)
	}
	entry, err := ParseHost(u.Host)
	if err == nil {
		host, port := split(entry)
		if slices.Contains(r.Hosts, joined(host, or(port, standard))) || (port == "" || port == standard) && slices.Contains(r.Hosts, joined(host, "")) {
			return nil
		}
	}
	return refusef("host %s is not allowed by target %s", quoted(u.Host), target)
}

// split is the reverse of joined.
func split(entry string) (host, port string) {
	u := url.URL{Host: entry}
	return u.Hostname(), u.Port()
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// quoted shows what is odd about a text.
func quoted(text string) string {
	if len(text) > 100 {
		text = text[:100] + "…"
	}
	if q := strconv.Quote(text); q != `"`+text+`"` || text == "" {
		return q
	}
	return text
}

// CheckWritten is Check for an address that may hold expressions, as far as it
// is written out: nil while the host is not.
func (r Rules) CheckWritten(target, text string) error {
	written, _, templated := strings.Cut(text, "${{")
	if templated {
		scheme, after, ok := strings.Cut(written, "://")
		if !ok || !strings.ContainsAny(after, "/?#") {
			return nil
		}
		written = scheme + "://" + after[:strings.IndexAny(after, "/?#")] + "/"
	}
	u, err := url.Parse(written)
	if err != nil {
		return refusef("it is not an address of the web")
	}
	return r.Check(target, u)
}
