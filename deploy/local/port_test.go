package local_test

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/deploy/local"
)

func TestReservedPortsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[int]bool{}
	for range 100 {
		port, err := local.ReservePort()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = port.Release() })
		if seen[port.Number] {
			t.Fatalf("port %d was handed out twice", port.Number)
		}
		seen[port.Number] = true
		if !local.PortFree(port.Number) {
			t.Errorf("port %d is not free", port.Number)
		}
	}
}

func TestPortBookRemembers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cluster", "ports.json")
	names := []string{"reader", "ingest", "s1-a", "s1-b"}
	read := func() map[string]int {
		t.Helper()
		book, err := local.OpenPortBook(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = book.Release() }()
		ports := map[string]int{}
		for _, name := range names {
			if ports[name], err = book.Port(name, 0); err != nil {
				t.Fatal(err)
			}
		}
		return ports
	}
	first := read()
	if diff := cmp.Diff(first, read()); diff != "" {
		t.Errorf("the ports changed (-first +second):\n%s", diff)
	}
	distinct := map[int]bool{}
	for _, number := range first {
		distinct[number] = true
	}
	if len(distinct) != len(names) {
		t.Errorf("%d different ports for %d names: %v", len(distinct), len(names), first)
	}
}

func TestPortBookPrefers(t *testing.T) {
	t.Parallel()
	free, err := local.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	if err := free.Release(); err != nil {
		t.Fatal(err)
	}
	reserved, err := local.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reserved.Release() })
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Close() })
	busyNumber := busy.Addr().(*net.TCPAddr).Port

	book, err := local.OpenPortBook(filepath.Join(t.TempDir(), "ports.json"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Release() })
	for _, test := range []struct {
		name      string
		preferred int
		taken     bool
	}{
		{"free", free.Number, true},
		{"another name has it", free.Number, false},
		{"another program has it", busyNumber, false},
		{"another reserver has it", reserved.Number, false},
	} {
		got, err := book.Port(test.name, test.preferred)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if (got == test.preferred) != test.taken {
			t.Errorf("%s: port %d for preferred %d, want it taken: %v", test.name, got, test.preferred, test.taken)
		}
	}
}
