"""What the doctor looks at, one file a subject. A check gives findings and changes nothing; a `mend_` puts right."""
