"""Models of other toolkits: their files read without their code, their weights put into networks of ours."""
