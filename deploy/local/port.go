package local

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

const (
	// Ports are picked below the range from which Linux takes ports for outgoing
	// connections: such a connection could occupy one before its server starts.
	firstPort = 20000
	portCount = 10000
	portTries = 500
)

// Port is a free loopback TCP port, kept from every other reserver on this
// machine until Release.
type Port struct {
	Number int
	lock   *Lock
}

// ReservePort picks a free port. No two reservations of one user hold the same
// port, in one process or in several.
func ReservePort() (*Port, error) {
	for range portTries {
		port, err := reserve(firstPort + rand.IntN(portCount))
		if err != nil {
			return nil, fmt.Errorf("reserve port: %w", err)
		}
		if port != nil {
			return port, nil
		}
	}
	return nil, fmt.Errorf("reserve port: %d tries between %d and %d found no free one", portTries, firstPort, firstPort+portCount-1)
}

// reserve is the port of that number, or nil if it is not to be had.
func reserve(number int) (*Port, error) {
	dir := filepath.Join(os.TempDir(), "quipu-ports-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(dir, strconv.Itoa(number)))
	if errors.Is(err, ErrLocked) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if PortFree(number) {
		return &Port{Number: number, lock: lock}, nil
	}
	return nil, lock.Unlock()
}

// Release gives the port back.
func (p *Port) Release() error { return p.lock.Unlock() }

// PortFree tells whether a server could listen on a loopback port now. It binds
// and never listens: a child that is just being started has a copy of the socket
// for a moment longer, and a copy that listened would keep the server out.
func PortFree(number int) bool {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return false
	}
	defer func() { _ = syscall.Close(fd) }()
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return false
	}
	return syscall.Bind(fd, &syscall.SockaddrInet4{Port: number, Addr: [4]byte{127, 0, 0, 1}}) == nil
}

// LoopbackAddress is host:port of a loopback port.
func LoopbackAddress(number int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(number))
}
