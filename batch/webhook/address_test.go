package webhook

import (
	"net/netip"
	"testing"
)

func TestIsPublic(t *testing.T) {
	for address, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "2606:4700::1111": true, "2001:4860:4860::8888": true, "64:ff9b::808:808": true, "2002:808:808::1": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "127.9.9.9": false, "0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false,
		"169.254.169.254": false, "100.64.0.1": false, "100.127.255.255": false, "192.0.0.192": false, "192.0.2.1": false, "198.18.0.1": false, "198.19.255.255": false,
		"224.0.0.1": false, "239.255.255.255": false, "240.0.0.1": false, "255.255.255.255": false, "203.0.113.9": false, "198.51.100.1": false,
		"::1": false, "::": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::127.0.0.1": false, "fe80::1": false, "fe80::1%eth0": false, "fc00::1": false, "fd00:ec2::254": false,
		"ff02::1": false, "fec0::1": false, "64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::1": false, "2002:7f00:1::1": false, "2002:a00:1::": false,
		"2001::1": false, "2001:db8::1": false, "100::1": false, "172.15.0.1": true, "172.32.0.1": true, "100.63.255.255": true, "100.128.0.1": true,
	} {
		if got := isPublic(netip.MustParseAddr(address)); got != want {
			t.Errorf("isPublic(%s): got %v, want %v", address, got, want)
		}
	}
}

func TestAddressesOfBatches(t *testing.T) {
	e := Endpoint{Hosts: []string{"hooks.example.com", "*.example.org", "example.net:8443", "[2001:4860::1]:443", "8.8.8.8"}}
	if err := (&Endpoint{Hosts: e.Hosts, Secrets: []Secret{{}}}).validate(); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{
		"https://hooks.example.com/a?b=c": true, "https://HOOKS.example.com:443/": true, "https://hooks.example.com.": true, "https://a.b.example.org": true,
		"https://example.net:8443/x": true, "https://[2001:4860::1]/": true, "https://8.8.8.8/": true,
		"http://hooks.example.com/": false, "https://hooks.example.com:8443/": false, "https://example.org": false, "https://badexample.org": false, "https://example.net/": false,
		"https://user:pass@hooks.example.com/": false, "https://hooks.example.com@evil.com/": false, "https://evil.com/hooks.example.com": false, "https://hooks.example.com.evil.com/": false,
		"https://hooks.example.com#x": false, "ftp://hooks.example.com/": false, "//hooks.example.com/": false, "hooks.example.com": false, "": false, "https://": false, "https:hooks.example.com": false,
		"https://hooks.example.com\n/": false, "https://hooks.example.com\x00/": false, "https://%68ooks.evil.com/": false, "https://134744072/": false, "https://.example.org/": false,
	} {
		if err := e.allows(address); (err == nil) != want {
			t.Errorf("allows(%q): got error %v, want allowed %v", address, err, want)
		}
	}
	e.AllowPrivate = true
	if err := e.allows("http://hooks.example.com/"); err != nil {
		t.Errorf("http with allow_private: got %v, want no error", err)
	}
	for _, bad := range []string{"", "*", "*.", "a/b", "https://a", "a@b", "a:0", "a:99999", "a b", "*.*.a", ".a", "a%b"} {
		if CheckHost(bad) == nil {
			t.Errorf("CheckHost(%q): got no error, want one", bad)
		}
	}
}
