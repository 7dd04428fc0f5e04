package egress

import "net/netip"

// A class says who may ask for an address.
type class int

const (
	public  class = iota
	private       // of this machine, or of a network that is not the internet
	never         // nobody: it would be this machine's own credentials, or no host at all
)

// nevers are asked by nobody, whatever a target allows: what clouds answer
// without a password at addresses that only look like ordinary ones, and what
// is no host.
var nevers = prefixes(
	"0.0.0.0/8", "240.0.0.0/4", // "this network", reserved, broadcast
	"100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", // metadata of clouds
	"fd00:ec2::254/128", "fd20:ce::254/128",
	"2001::/32", // Teredo: an address of somebody else inside
)

// privates are not on the internet, beside what netip knows.
var privates = prefixes(
	"100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15",
	"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", // documentation
	"64:ff9b:1::/48", "100::/64", "2001:db8::/32", "fec0::/10",
)

// embeds are networks of IPv6 with an address of IPv4 inside, and where.
var embeds = []struct {
	netip.Prefix
	at int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
	{netip.MustParsePrefix("::/96"), 12},
}

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

// classify says who may ask for an address.
func classify(a netip.Addr) class {
	a = a.WithZone("").Unmap()
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast(), within(nevers, a):
		return never
	case a.IsLoopback(), a.IsPrivate(), within(privates, a):
		return private
	}
	for _, e := range embeds {
		if e.Contains(a) {
			bytes := a.As16()
			inside, _ := netip.AddrFromSlice(bytes[e.at : e.at+4])
			return classify(inside)
		}
	}
	return public
}

func within(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
