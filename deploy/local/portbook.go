package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// PortBook keeps the ports of a persistent cluster in a file, by name, so that
// its addresses stay the same over restarts.
type PortBook struct {
	path string

	mu    sync.Mutex
	ports map[string]int
	held  []*Port
}

// OpenPortBook reads the file; one that does not exist yet is an empty book.
func OpenPortBook(path string) (*PortBook, error) {
	book := &PortBook{path: path, ports: map[string]int{}}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return book, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open port book: %w", err)
	}
	if err := json.Unmarshal(content, &book.ports); err != nil {
		return nil, fmt.Errorf("open port book %s: %w", path, err)
	}
	return book, nil
}

// Port is the port of that name. The first time it is chosen, preferred if that
// is free (0: no preference), and written to the file. While the book is open, no
// other reserver is given a port of it.
func (b *PortBook) Port(name string, preferred int) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if number, ok := b.ports[name]; ok {
		b.holdLocked(number)
		return number, nil
	}
	number, err := b.chooseLocked(preferred)
	if err != nil {
		return 0, fmt.Errorf("choose port for %s: %w", name, err)
	}
	b.ports[name] = number
	if err := b.saveLocked(); err != nil {
		delete(b.ports, name)
		return 0, fmt.Errorf("choose port for %s: %w", name, err)
	}
	return number, nil
}

// Known tells whether a name has a port already.
func (b *PortBook) Known(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.ports[name]
	return ok
}

// Forget drops a name: its port is chosen anew when it is asked for.
func (b *PortBook) Forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.ports, name)
}

// Release ends this process's hold on the ports it chose; the file stays.
func (b *PortBook) Release() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, port := range b.held {
		errs = append(errs, port.Release())
	}
	b.held = nil
	return errors.Join(errs...)
}

func (b *PortBook) chooseLocked(preferred int) (int, error) {
	if preferred != 0 && !b.takenLocked(preferred) && b.holdLocked(preferred) {
		return preferred, nil
	}
	for range portTries {
		port, err := ReservePort()
		if err != nil {
			return 0, err
		}
		b.held = append(b.held, port)
		if !b.takenLocked(port.Number) {
			return port.Number, nil
		}
	}
	return 0, errors.New("every free port is in the book already")
}

// holdLocked keeps a port from other reservers, and tells whether it could: not
// one that somebody else has, or that is in use.
func (b *PortBook) holdLocked(number int) bool {
	for _, port := range b.held {
		if port.Number == number {
			return true
		}
	}
	port, err := reserve(number)
	if err != nil || port == nil {
		return false
	}
	b.held = append(b.held, port)
	return true
}

func (b *PortBook) takenLocked(number int) bool {
	for _, other := range b.ports {
		if other == number {
			return true
		}
	}
	return false
}

func (b *PortBook) saveLocked() error {
	if err := os.MkdirAll(filepath.Dir(b.path), 0o755); err != nil {
		return err
	}
	content, err := json.MarshalIndent(b.ports, "", "  ")
	if err != nil {
		return err
	}
	return writeFileAtomically(b.path, append(content, '\n'), 0o644)
}
