package testkit_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/quipudb/quipu/testkit"
)

// echo serves every line back.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp4", testkit.LoopbackAny)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go io.Copy(conn, conn)
		}
	}()
	return listener.Addr().String()
}

type caller struct {
	net.Conn
	answers *bufio.Reader
}

func dial(t *testing.T, link *testkit.Link) *caller {
	t.Helper()
	conn, err := net.Dial("tcp4", link.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &caller{conn, bufio.NewReader(conn)}
}

func (c *caller) call(text string, wait time.Duration) (string, error) {
	if text != "" {
		if _, err := fmt.Fprintln(c, text); err != nil {
			return "", err
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return "", err
	}
	return c.answers.ReadString('\n')
}

func TestLinkIsWhatTheNetworkIs(t *testing.T) {
	const long, short = 20 * time.Second, 100 * time.Millisecond
	link := testkit.NewLink(t)
	link.Lead(echo(t))
	c := dial(t, link)
	expect := func(c *caller, text, want string) {
		t.Helper()
		if got, err := c.call(text, long); err != nil || got != want {
			t.Fatalf("got %q and %v, want %q", got, err, want)
		}
	}
	expect(c, "quick", "quick\n")

	link.Slow(30 * time.Millisecond)
	begun := time.Now()
	expect(c, "slow", "slow\n")
	if took := time.Since(begun); took < 60*time.Millisecond {
		t.Errorf("an answer came after %v over a link that takes 30 ms each way", took)
	}

	link.Hole()
	if got, err := c.call("held", short); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %q and %v out of a hole, want nothing", got, err)
	}
	late := dial(t, link) // connecting works: nobody says that nobody is there
	if got, err := late.call("held too", short); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %q and %v out of a hole, want nothing", got, err)
	}
	link.Heal()
	expect(c, "", "held\n")
	expect(late, "", "held too\n")

	link.Reset()
	if got, err := c.call("lost", long); err == nil {
		t.Errorf("a reset connection answers %q", got)
	}
	expect(dial(t, link), "new", "new\n")

	link.Cut()
	if conn, err := net.Dial("tcp4", link.Address()); err == nil {
		cut := &caller{conn, bufio.NewReader(conn)}
		defer conn.Close()
		if got, err := cut.call("lost", long); err == nil {
			t.Errorf("a cut link answers %q", got)
		}
	}
	link.Heal()
	expect(dial(t, link), "again", "again\n")
}
