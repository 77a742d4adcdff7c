set terminal svg size 720,336 dynamic noenhanced font 'sans-serif,13' background rgb 'white' name 'arms_lightgcn'
set output 'arms-lightgcn.svg.part'
set key outside right top samplen 1.5
set grid lc rgb '#dddddd'
unset key
set title 'lightgcn'
set xlabel 'ndcg@20 on test'
set yrange [5.5:-0.5]
set ytics ('original' 0, 'augmented' 1, 'control.random' 2, 'control.popularity' 3, 'control.itemknn' 4, 'control.self' 5)
plot '-' using 1:2:3 with xerrorbars pt 7 ps 0.8 lw 1.5 lc rgb '#1f5fa8'
0.328476022 0 0.00274987011
0.333993382 1 0.00241389964
0.328082108 2 0.00262826209
0.328284239 3 0.00158227054
0.325066964 4 0.00221771364
0.33067089 5 0.00279520644
e
