package main

import (
	"net"
	"testing"

	"github.com/quipudb/quipu/cluster"
)

// freeAddress returns an address of loopback that nobody listened on a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// takenAddress returns an address that is listened on until the test ends.
func takenAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

func TestAdvertisedAddresses(t *testing.T) {
	for name, test := range map[string]struct{ configured, listen, listening, want string }{
		"as configured":  {"http://10.0.0.5:80/", "0.0.0.0:8080", "0.0.0.0:8080", "http://10.0.0.5:80"},
		"as it listens":  {"", "10.0.0.5:8080", "10.0.0.5:8080", "http://10.0.0.5:8080"},
		"chosen port":    {"", "127.0.0.1:0", "127.0.0.1:4711", "http://127.0.0.1:4711"},
		"version 6":      {"", "[::1]:8080", "[::1]:8080", "http://[::1]:8080"},
		"name of a host": {"", "db1.example.com:8080", "10.0.0.5:8080", "http://db1.example.com:8080"},
	} {
		if got, err := advertisedURL(test.configured, test.listen, test.listening); err != nil || got != test.want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, test.want)
		}
	}
	if got, err := advertisedURL("", "0.0.0.0:80", "0.0.0.0:80"); err != nil || got == "http://0.0.0.0:80" {
		t.Errorf("got %q, %v for every address of the machine, want its name", got, err)
	}
}

func TestMemberIDs(t *testing.T) {
	for url, want := range map[string]string{
		"http://10.0.0.5:8080": "reader-10.0.0.5_8080", "http://[::1]:80": "reader-1__80", "https://a.example.com:443": "reader-a.example.com_443",
	} {
		if got := memberID(cluster.RoleReader, url); got != want {
			t.Errorf("got %q for %s, want %q", got, url, want)
		}
	}
}
