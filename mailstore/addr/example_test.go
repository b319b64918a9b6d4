package addr_test

import (
	"errors"
	"fmt"

	"pillarbox/mailstore/addr"
)

// Parse an address, and fold it to compare it with another one.
func Example() {
	a, err := addr.Parse("Anna.Muster@Office.EXAMPLE")
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := addr.Parse("anna.muster@office.example")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(a)
	fmt.Println("equal as written:", a == b)
	fmt.Println("equal when folded:", a.Fold() == b.Fold())

	_, err = addr.Parse("anna")
	fmt.Println(err, errors.Is(err, addr.ErrSyntax))
	// Output:
	// Anna.Muster@office.example
	// equal as written: false
	// equal when folded: true
	// address syntax: "anna" has no @domain true
}
