package egress

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestHosts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Spark.Example.com":        "spark.example.com",
		"spark.example.com:8443":   "spark.example.com:8443",
		"localhost:8080":           "localhost:8080",
		"127.0.0.1:8080":           "127.0.0.1:8080",
		"10.0.0.5":                 "10.0.0.5",
		"[::1]:80":                 "[::1]:80",
		"[2001:DB8::1]":            "[2001:db8::1]",
		"[::ffff:10.0.0.1]":        "10.0.0.1",
		"my_service":               "my_service",
		"xn--bcher-kva.example":    "xn--bcher-kva.example",
		"":                         "",
		"*.example.com":            "",
		"example.com.":             "",
		"example.com:":             "",
		"example.com:0":            "",
		"example.com:080":          "",
		"example.com:65536":        "",
		"user@example.com":         "",
		"example.com/path":         "",
		"https://example.com":      "",
		"bücher.example":           "",
		"127.1":                    "",
		"0x7f.1":                   "",
		"0x7f000001":               "",
		"2130706433":               "",
		"0177.0.0.1":               "",
		"1.2.3.4.5":                "",
		"169.254.169.254":          "",
		"[::ffff:169.254.169.254]": "",
		"[fe80::1]":                "",
		"[fe80::1%25eth0]":         "",
		"0.0.0.0":                  "",
		"224.0.0.1":                "",
		"a b":                      "",
		"a..b":                     "",
	} {
		if got, err := ParseHost(text); got != want || (err == nil) != (want != "") {
			t.Errorf("ParseHost(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestClasses(t *testing.T) {
	t.Parallel()
	for want, list := range map[class]string{
		public: "93.184.216.34 8.8.8.8 2606:2800:220:1::1 64:ff9b::808:808 2002:808:808::1",
		private: "127.0.0.1 127.255.255.254 10.1.2.3 172.16.0.1 192.168.1.1 100.64.0.1 ::1 fd12::1 ::ffff:10.0.0.1 ::ffff:7f00:1 " +
			"64:ff9b::a00:1 2002:7f00:1::1 ::7f00:1 198.18.0.1 203.0.113.9 2001:db8::1 fec0::1",
		never: "0.0.0.0 0.1.2.3 :: 169.254.169.254 169.254.0.1 ::ffff:169.254.169.254 ::ffff:a9fe:a9fe fe80::1 fe80::1%eth0 224.0.0.1 " +
			"239.1.1.1 255.255.255.255 240.0.0.1 ff02::1 100.100.100.200 168.63.129.16 fd00:ec2::254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1 " +
			"::a9fe:a9fe 2001:0:1::1",
	} {
		for text := range strings.FieldsSeq(list) {
			if got := classify(netip.MustParseAddr(text)); got != want {
				t.Errorf("classify(%s) = %d, want %d", text, got, want)
			}
		}
	}
	if got := classify(netip.Addr{}); got != never {
		t.Errorf("classify(no address) = %d, want %d", got, never)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	rules := Rules{Hosts: []string{"spark.example.com", "alt.example.com:8443", "10.0.0.5:8080", "[::1]:80"}}
	tests := []struct{ url, want string }{
		{"https://spark.example.com/x?y=1", ""},
		{"https://SPARK.example.com:443/", ""},
		{"https://alt.example.com:8443/", ""},
		{"https://10.0.0.5:8080/", ""},
		{"https://[::ffff:10.0.0.5]:8080/", ""},
		{"https://spark.example.com:8443/", "host spark.example.com:8443 is not allowed by target t"},
		{"https://alt.example.com/", "host alt.example.com is not allowed by target t"},
		{"http://spark.example.com/", "target t does not allow http: write https"},
		{"https://evil.example.com/", "host evil.example.com is not allowed by target t"},
		{"https://spark.example.com.evil.com/", "is not allowed"},
		{"https://spark.example.com./", "is not allowed"},
		{"https://169.254.169.254/latest/meta-data", "host 169.254.169.254 is not allowed by target t"},
		{"https://127.1:5432/", "is not allowed"},
		{"https://0x7f.1/", "is not allowed"},
		{"https://[::ffff:7f00:1]/", "is not allowed"},
		{"https://u:p@spark.example.com/", "user info in a url"},
		{"https://spark.example.com@evil.com/", "user info in a url"},
		{"file:///etc/passwd", "scheme file"},
		{"gopher://spark.example.com/", "scheme gopher"},
		{"//spark.example.com/", `scheme ""`},
		{"https:///x", "no host"},
		{"https:spark.example.com", "no host"},
	}
	for _, test := range tests {
		u, err := url.Parse(test.url)
		if err != nil {
			t.Errorf("%s: %v", test.url, err)
			continue
		}
		err = rules.Check("t", u)
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || !IsRefused(err)) {
			t.Errorf("Check(%s) = %v, want %q", test.url, err, test.want)
		}
	}
}

// What is not known before the run is checked in the run; what is written out is
// checked at once.
func TestCheckWritten(t *testing.T) {
	t.Parallel()
	rules := Rules{Hosts: []string{"a.example.com"}}
	for text, good := range map[string]bool{
		"https://a.example.com/ready/${{ params.day }}": true,
		"https://a.example.com${{ params.path }}":       true,
		"${{ vars.base }}/ready":                        true,
		"https://${{ vars.host }}/ready":                true,
		"https://b.example.com/ready/${{ params.day }}": false,
		"https://b.example.com?q=${{ params.day }}":     false,
		"http://a.example.com/${{ params.day }}":        false,
		"https://u@a.example.com/${{ params.day }}":     false,
		"https://b.example.com/":                        false,
		"https://a.example.com:port/":                   false,
	} {
		if err := rules.CheckWritten("t", text); (err == nil) != good {
			t.Errorf("CheckWritten(%s) = %v, want good: %t", text, err, good)
		}
	}
}

// names is a resolver.
type names map[string][]string

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	list, ok := n[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var out []netip.Addr
	for _, text := range list {
		out = append(out, netip.MustParseAddr(text))
	}
	return out, nil
}

func TestDialledAddressesAreChecked(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	resolver := names{
		"metadata.example.com": {"169.254.169.254"},
		"mapped.example.com":   {"::ffff:169.254.169.254"},
		"mixed.example.com":    {"127.0.0.1", "169.254.169.254"},
		"inside.example.com":   {"127.0.0.1"},
		"nowhere.example.com":  {},
	}
	get := func(rules Rules, host string) error {
		rules.AllowHTTP = true
		rules.Hosts = append(rules.Hosts, host+":"+port)
		transport := NewTransport("t", rules, resolver)
		defer transport.CloseIdleConnections()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+":"+port+"/", nil)
		answer, err := transport.RoundTrip(r)
		if err == nil {
			answer.Body.Close()
		}
		return err
	}
	for host, want := range map[string]string{
		"metadata.example.com": "nobody may ask for",
		"mapped.example.com":   "nobody may ask for",
		"mixed.example.com":    "nobody may ask for",
		"nowhere.example.com":  "has no address",
		"unknown.example.com":  "no such host",
	} {
		if err := get(Rules{AllowPrivate: true}, host); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", host, err, want)
		}
	}
	if err := get(Rules{}, "inside.example.com"); !IsRefused(err) || !strings.Contains(err.Error(), "allow_private") {
		t.Errorf("a name of a private address: %v, want that allow_private is missing", err)
	}
	if err := get(Rules{AllowPrivate: true}, "inside.example.com"); err != nil {
		t.Errorf("with allow_private: %v", err)
	}
	if err := get(Rules{}, "127.0.0.1"); err != nil {
		t.Errorf("an address that is in the list itself: %v", err)
	}
	var refused *Refused
	if err := get(Rules{Hosts: []string{"169.254.169.254:" + port}}, "169.254.169.254"); !errors.As(err, &refused) {
		t.Errorf("a metadata address in the list: %v, want it refused all the same", err)
	}
}
