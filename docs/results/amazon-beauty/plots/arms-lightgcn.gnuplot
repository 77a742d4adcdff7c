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
0.0279505678 0 0.00144762962
0.0307746975 1 0.000572056241
0.0208731037 2 0.000992915563
0.020605855 3 0.00125146366
0.0342877577 4 0.000712584484
0.0275077995 5 0.000236257611
e
