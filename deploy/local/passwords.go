package local

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrNoPassword says that a password is missing.
var ErrNoPassword = errors.New("no password")

// Passwords of the accounts.
type Passwords map[Account]string

// NewPasswords draws a password for each account.
func NewPasswords() Passwords {
	passwords := Passwords{}
	for _, account := range Accounts() {
		passwords[account] = rand.Text()
	}
	return passwords
}

// OpenPasswords reads the passwords of a persistent cluster, and draws and writes
// those that the file, which only its owner may read, does not have yet.
func OpenPasswords(path string) (Passwords, error) {
	passwords := NewPasswords()
	drawn := len(passwords)
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open passwords: %w", err)
	}
	if err == nil {
		var known Passwords
		if err := json.Unmarshal(content, &known); err != nil {
			return nil, fmt.Errorf("open passwords %s: %w", path, err)
		}
		for _, account := range Accounts() {
			if password := known[account]; password != "" {
				passwords[account] = password
				drawn--
			}
		}
	}
	if drawn == 0 {
		return passwords, nil
	}
	return passwords, passwords.save(path)
}

func (p Passwords) save(path string) error {
	content, err := json.MarshalIndent(p, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = writeFileAtomically(path, append(content, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("save passwords: %w", err)
	}
	return nil
}
